"""Shadows that hang, fail, answer nonsense or crawl: the champion's answers stay as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline.base.keys.home_keys import key_of_home
from inference.serving.counts.metrics import read_label_key
from inference.serving.options import EngineOptions, ShadowLimits
from inference.serving.plan import PlanModel, PlanVersion
from tests.inference.onnx_models import (
    failing_model,
    looping_model,
    root_model,
    store,
    summing_model,
    summing_signature,
)
from tests.inference.serving.running import Server, publish, rows_body, running_server, token
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SUMS = "/v2/models/sums/infer"
GOOD, BAD = rows_body([1, 2, 3]), rows_body([-1, -2, -3])
IMPATIENT = EngineOptions(shadows=ShadowLimits(run_seconds=0.1, open_seconds=600))


def version(home: Path, model: bytes, *, id: int) -> PlanVersion:
    return store(home, model, summing_signature(3), id=id, version=str(id))


def deploy(home: Path, *shadows: bytes, share: float = 1.0) -> None:
    versions = [version(home, summing_model(3), id=1)]
    versions += [version(home, shadow, id=place) for place, shadow in enumerate(shadows, 2)]
    names = [shadow.version for shadow in versions[1:]]
    shares = dict.fromkeys(names, share)
    publish(
        home, [PlanModel(1, 1, "sums", 1, "1", names, versions, shadow_shares=shares)], [token("dl_infer")]
    )


def state_of(server: Server, shadow: str = "2") -> dict[str, Any]:
    [status] = server.status_files()
    return next((state for state in status["shadows"] if state["version"] == shadow), {})


def drops(server: Server) -> dict[str, int]:
    [status] = server.status_files()
    return {
        reason: count for key, count in status["shadow_drops"].items() for reason in [read_label_key(key)[2]]
    }


def ask(server: Server, body: bytes, times: int) -> list[Any]:
    answers = [server.ask(SUMS, body) for _ in range(times)]
    assert {answer.status for answer in answers} == {200}
    return [answer.json["outputs"][0]["data"] for answer in answers]


def test_a_process_that_seals_spools_neither_its_answers_nor_its_shadows_in_plain(tmp_path: Path) -> None:
    deploy(tmp_path, summing_model(3))
    key_of_home(tmp_path, "log_key")
    with running_server(tmp_path, options=EngineOptions(seals=True)) as server:
        ask(server, rows_body([1234.5, 2, 3]), 1)

        wait_until(lambda: server.spooled("shadow"))

        value = np.float32(1234.5).tobytes()
        assert all(value not in path.read_bytes() for path in tmp_path.glob("spool/*/*.log"))
        for role in ("champion", "shadow"):
            [logged] = server.spooled(role)
            assert value in b"".join(column.data for column in logged.features)  # type: ignore[misc, union-attr]


class TestShadowThatHangs:
    def test_is_ended_at_its_deadline_and_left_alone_after_five(self, tmp_path: Path) -> None:
        deploy(tmp_path, looping_model(3))
        with running_server(tmp_path, options=IMPATIENT) as server:
            answers = ask(server, BAD, 10)

            wait_until(lambda: state_of(server).get("circuit") == "open")
            answers += ask(server, BAD, 3)
            wait_until(lambda: sum(drops(server).values()) == 13)

            assert answers == [[-6.0]] * 13
            assert drops(server) == {"timeout": 5, "circuit_open": 8}
            assert state_of(server)["last_failure"].startswith("timeout: ")
            assert sum(len(batch.ids) for batch in server.spooled("champion")) == 13
            assert server.spooled("shadow") == []

    def test_does_not_keep_other_shadows_from_answering(self, tmp_path: Path) -> None:
        deploy(tmp_path, looping_model(3), summing_model(3))
        with running_server(tmp_path, options=IMPATIENT) as server:
            ask(server, BAD, 10)

            wait_until(lambda: len(server.spooled("shadow")) == 10)

            assert {batch.version_id for batch in server.spooled("shadow")} == {3}

    def test_does_not_hold_up_the_end_of_the_process(self, tmp_path: Path) -> None:
        deploy(tmp_path, looping_model(3))
        with running_server(tmp_path, options=EngineOptions(shadows=ShadowLimits(run_seconds=1))) as server:
            ask(server, BAD, 2)

            assert server.stop() == 0

    def test_comes_back_when_it_has_mended(self, tmp_path: Path) -> None:
        deploy(tmp_path, looping_model(3))
        limits = ShadowLimits(run_seconds=0.1, open_seconds=0.2)
        with running_server(tmp_path, options=EngineOptions(shadows=limits)) as server:
            ask(server, BAD, 5)
            wait_until(lambda: state_of(server).get("circuit") in ("open", "half_open"))

            def is_copied_again() -> bool:
                ask(server, GOOD, 1)
                return bool(server.spooled("shadow"))

            wait_until(is_copied_again)
            wait_until(lambda: state_of(server)["circuit"] == "closed")


class TestShadowThatFails:
    def test_is_counted_and_left_alone_after_five(self, tmp_path: Path) -> None:
        deploy(tmp_path, failing_model(3))
        with running_server(tmp_path, options=IMPATIENT) as server:
            answers = ask(server, BAD, 4)
            wait_until(lambda: drops(server) == {"failed": 4})
            answers += ask(server, BAD, 1)
            wait_until(lambda: state_of(server)["circuit"] == "open")

            assert answers == [[-6.0]] * 5
            assert "out of data bounds" in state_of(server)["last_failure"]
            wait_until(lambda: server.counted()["2", "dropped"] == 5)


class TestShadowThatAnswersNoNumber:
    def test_is_logged_and_counted(self, tmp_path: Path) -> None:
        deploy(tmp_path, root_model(3))
        with running_server(tmp_path, options=IMPATIENT) as server:
            answers = ask(server, BAD, 3)
            wait_until(lambda: len(server.spooled("shadow")) == 3)

            assert answers == [[-6.0]] * 3
            assert drops(server) == {}
            wait_until(lambda: invalid_outputs(server) == {"champion": 0, "shadow": 3})


def invalid_outputs(server: Server) -> dict[str, int]:
    [status] = server.status_files()
    return {read_label_key(key)[2]: series["invalid_outputs"] for key, series in status["series"].items()}


class TestSampling:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_copies_about_the_share_and_all_of_a_row_or_nothing(self, tmp_path: Path, workers: int) -> None:
        deploy(tmp_path, summing_model(3), share=0.25)
        body = rows_body(*[[place, 0, 0] for place in range(100)])
        with running_server(tmp_path, workers=workers) as server:
            ask(server, body, 20)
            server.stop()

            answered = {
                row: value
                for batch in server.spooled("champion")
                for row, value in zip(batch.ids, _numbers(batch.prediction), strict=True)
            }
            copied = {
                row: value
                for batch in server.spooled("shadow")
                for row, value in zip(batch.ids, _numbers(batch.prediction), strict=True)
            }

        assert 400 < len(copied) < 600  # of 2,000; six standard deviations are 116
        assert copied.items() <= answered.items()


def _numbers(prediction: list[str] | bytes) -> list[float]:
    import numpy as np

    assert isinstance(prediction, bytes)
    return np.frombuffer(prediction, "<f8").tolist()
