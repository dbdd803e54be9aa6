"""A model that takes the process along: what is lost, who is blamed, and how often it may do it again."""

import contextlib
from pathlib import Path

import onnx

from inference.serving.crashes import MAX_CRASHES, read_crashes
from inference.serving.plan import PlanModel, PlanVersion
from tests.inference.onnx_models import store, summing_model, summing_signature
from tests.inference.serving.fatal import FATAL_FILE, FATAL_INPUT
from tests.inference.serving.running import Server, publish, rows_body, running_server, token
from tests.waiting import wait_until

APP = "tests.inference.serving.crashing_app:app"
GOOD, FATAL = rows_body([1, 2, 3]), rows_body([FATAL_INPUT, 0, 0])


def sums(home: Path, *, id: int, version: str = "1", remark: str = "") -> PlanVersion:
    model = onnx.load_from_string(summing_model(3))
    model.doc_string = remark or str(id)
    return store(home, model.SerializeToString(), summing_signature(3), id=id, version=version)


def deploy(home: Path, crashing: PlanVersion, shadow: PlanVersion | None = None, generation: int = 1) -> None:
    """Publish a model that works beside one whose champion may crash."""
    names = [shadow.version] if shadow else []
    models = [
        PlanModel(1, 1, "fine", generation, "1", [], [sums(home, id=1)]),
        PlanModel(
            2, 1, "risky", generation, crashing.version, names, [crashing, *([shadow] if shadow else [])]
        ),
    ]
    publish(home, models, [token("dl_infer")], generation)


def crash_once(server: Server) -> None:
    """Ask what crashes the process, and wait for the next one."""
    pid = server.status_files()[0]["pid"]
    with contextlib.suppress(OSError):
        server.ask("/v2/models/risky/infer", FATAL)
    wait_until(lambda: [s["pid"] for s in server.status_files() if s["ready"]] not in ([], [pid]))


class TestCrashOfAModel:
    def test_loses_no_acknowledged_row_and_ends_in_quarantine(self, tmp_path: Path) -> None:
        deploy(tmp_path, sums(tmp_path, id=2))
        with running_server(tmp_path, app=APP) as server:
            acknowledged = [server.ask("/v2/models/risky/infer", GOOD) for _ in range(20)]
            for _ in range(MAX_CRASHES):
                crash_once(server)
            fine = server.ask("/v2/models/fine/infer", FATAL.replace(b"-13", b"-12"))
            risky = server.ask("/v2/models/risky/infer", GOOD)
            ready = server.ask("/v2/models/risky/ready", method="GET")
            logged = {row for batch in server.spooled() for row in batch.ids}

        assert fine.status == 200
        assert risky.status == 503
        assert "SIGSEGV" in risky.json["error"]
        assert (ready.status, ready.json["ready"]) == (503, False)
        assert "quarantined" in ready.json["reason"]
        assert {answer.headers["driftline-prediction-id"] for answer in acknowledged} <= logged
        assert {version: len(crashes.at) for version, crashes in read_crashes(tmp_path).items()} == {2: 3}

    def test_while_it_is_loaded_keeps_no_other_from_being_served(self, tmp_path: Path) -> None:
        deploy(tmp_path, sums(tmp_path, id=2, remark=FATAL_FILE.decode()))
        with running_server(tmp_path, app=APP) as server:
            assert server.ask("/v2/models/fine/infer", GOOD).status == 200
            assert server.ask("/v2/models/risky/infer", GOOD).status == 503

        assert read_crashes(tmp_path)[2].quarantined

    def test_as_a_shadow_is_not_blamed_on_the_champion(self, tmp_path: Path) -> None:
        champion = sums(tmp_path, id=2)
        deploy(tmp_path, champion, sums(tmp_path, id=3, version="2", remark=FATAL_FILE.decode()))
        with running_server(tmp_path, app=APP) as server:
            answer = server.ask("/v2/models/risky/infer", GOOD)

        assert (answer.status, answer.headers["driftline-version"]) == (200, "1")
        assert {version for version, crashes in read_crashes(tmp_path).items() if crashes.quarantined} == {3}

    def test_leaves_no_files_of_the_dead_behind(self, tmp_path: Path) -> None:
        deploy(tmp_path, sums(tmp_path, id=2))
        with running_server(tmp_path, app=APP) as server:
            crash_once(server)
            server.stop()

        assert not list((tmp_path / "serving").glob("[0-9]*"))
