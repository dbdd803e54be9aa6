"""Swaps, shutdown, failures and full disks under load: what is promised to callers meanwhile."""

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from inference.serving.options import EngineOptions
from inference.serving.plan import PlanModel, PlanVersion
from tests.inference.onnx_models import classifier_signature, constant_classifier, store
from tests.inference.serving.running import (
    Response,
    Server,
    publish,
    request_bytes,
    rows_body,
    running_server,
    token,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

COINS = "/v2/models/coins/infer"
BODY = rows_body([1, 2, 3])
REQUEST = request_bytes(COINS, BODY)


def coin(home: Path, probability: float, *, id: int, version: str, slowness: int = 0) -> PlanVersion:
    model = constant_classifier(probability, 3, slowness)
    return store(home, model, classifier_signature(3), id=id, version=version)


def deploy(
    home: Path, versions: list[PlanVersion], champion: str, *shadows: str, generation: int = 1
) -> None:
    model = PlanModel(1, 1, "coins", generation, champion, list(shadows), versions)
    publish(home, [model], [token("dl_infer")], generation)


class Callers:
    """Threads that ask on keep-alive connections and honour connection: close, until told to stop."""

    def __init__(self, server: Server, count: int) -> None:
        self.answers: list[Response] = []
        self.failures: list[str] = []
        self._server = server
        self._stopping = False
        self._threads = [threading.Thread(target=self._call) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        while not self._stopping:
            try:
                connection = self._server.connect()
            except OSError:
                return  # the server is gone: no request was sent
            with connection:
                self._ask_until_closed(connection)

    def _ask_until_closed(self, connection: object) -> None:
        while not self._stopping:
            try:
                connection.send(REQUEST)  # type: ignore[attr-defined]
                answer = connection.receive()  # type: ignore[attr-defined]
            except OSError as error:
                self.failures.append(repr(error))
                return
            self.answers.append(answer)
            if answer.status != 200:
                self.failures.append(f"{answer.status} {answer.body!r}")
            if answer.closes:
                return

    def stop(self) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join(30)

    def wait_for(self, answers: int) -> None:
        wanted = len(self.answers) + answers
        wait_until(lambda: len(self.answers) >= wanted or self.failures)


class TestSwap:
    def test_fails_no_request_and_mixes_no_versions(self, tmp_path: Path) -> None:
        versions = [coin(tmp_path, 0.25, id=1, version="1"), coin(tmp_path, 0.75, id=2, version="2")]
        deploy(tmp_path, versions, "1")
        with running_server(tmp_path) as server:
            callers = Callers(server, 4)
            for generation in range(2, 8):
                callers.wait_for(50)
                deploy(tmp_path, versions, "2" if generation % 2 == 0 else "1", generation=generation)
                wait_until(lambda wanted=generation: server.status_files()[0]["generation"] == wanted)
            callers.wait_for(50)
            callers.stop()

        assert callers.failures == []
        seen = Counter(
            (
                answer.headers["driftline-version"],
                int(answer.headers["driftline-generation"]) % 2,
                answer.json["outputs"][0]["data"][0],
            )
            for answer in callers.answers
        )
        assert set(seen) == {("1", 1, 0), ("2", 0, 1)}

    def test_keeps_the_old_champion_when_the_new_ones_bytes_are_wrong(self, tmp_path: Path) -> None:
        versions = [coin(tmp_path, 0.25, id=1, version="1"), coin(tmp_path, 0.75, id=2, version="2")]
        path = tmp_path / versions[1].path
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        deploy(tmp_path, versions, "1", generation=1)
        with running_server(tmp_path) as server:
            deploy(tmp_path, versions, "2", generation=2)
            wait_until(lambda: server.status_files()[0]["generation"] == 2)

            answer = server.ask(COINS, BODY)
            direct = server.ask("/v2/models/coins/versions/2/infer", BODY)
            [status] = server.status_files()

        assert (answer.status, answer.headers["driftline-version"]) == (200, "1")
        assert answer.headers["driftline-generation"] == "1"
        assert (direct.status, direct.headers["retry-after"]) == (503, "1")
        assert "digest" in status["stale_models"]["1"]

    def test_leaves_the_plan_in_force_when_the_next_is_unreadable(self, tmp_path: Path) -> None:
        deploy(tmp_path, [coin(tmp_path, 0.25, id=1, version="1")], "1")
        with running_server(tmp_path) as server:
            (tmp_path / "plan.json").write_bytes(b"{")
            deploy_later = coin(tmp_path, 0.75, id=2, version="2")
            assert server.ask(COINS, BODY).status == 200
            deploy(tmp_path, [deploy_later], "2", generation=3)
            wait_until(lambda: server.ask(COINS, BODY).headers["driftline-version"] == "2")

    def test_takes_a_token_away_while_it_serves(self, tmp_path: Path) -> None:
        deploy(tmp_path, [coin(tmp_path, 0.25, id=1, version="1")], "1")
        with running_server(tmp_path) as server:
            assert server.ask(COINS, BODY).status == 200
            publish(tmp_path, [], [], generation=2)

            wait_until(lambda: server.ask(COINS, BODY).status == 401)


class TestShutdown:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_under_load_fails_no_request_of_clients_that_honour_close(
        self, tmp_path: Path, workers: int
    ) -> None:
        deploy(tmp_path, [coin(tmp_path, 0.25, id=1, version="1")], "1")
        with running_server(tmp_path, workers=workers) as server:
            callers = Callers(server, 8)
            callers.wait_for(300)

            code = server.stop()
            callers.stop()
            logged = sum(len(batch.ids) for batch in server.spooled("champion"))

        assert callers.failures == []
        assert code == 0
        assert logged == len(callers.answers)
        assert any(answer.closes for answer in callers.answers)
        assert server.status_files() == []


class TestDeath:
    def test_of_a_worker_loses_nothing_acknowledged_and_is_repaired(self, tmp_path: Path) -> None:
        deploy(tmp_path, [coin(tmp_path, 0.25, id=1, version="1")], "1")
        with running_server(tmp_path) as server:
            callers = Callers(server, 4)
            callers.wait_for(200)
            [before] = server.status_files()
            os.kill(before["pid"], signal.SIGKILL)
            wait_until(
                lambda: [s["pid"] for s in server.status_files() if s["ready"]] not in ([], [before["pid"]])
            )
            answered = server.ask(COINS, BODY)
            callers.stop()
            logged = [row for batch in server.spooled("champion") for row in batch.ids]

        assert answered.status == 200
        acknowledged = {answer.headers["driftline-prediction-id"] for answer in callers.answers}
        assert acknowledged <= set(logged)
        assert len(logged) == len(set(logged))

    def test_of_the_parent_takes_the_workers_along(self, tmp_path: Path) -> None:
        deploy(tmp_path, [coin(tmp_path, 0.25, id=1, version="1")], "1")
        with running_server(tmp_path, workers=2) as server:
            server.process.kill()
            server.process.wait()

            wait_until(lambda: server.status_files() == [])


class TestShadow:
    def test_that_is_slow_leaves_the_champion_alone(self, tmp_path: Path) -> None:
        versions = [
            coin(tmp_path, 0.25, id=1, version="1"),
            coin(tmp_path, 0.75, id=2, version="2", slowness=8),
        ]
        deploy(tmp_path, versions, "1", "2")
        with running_server(tmp_path) as server:
            for _ in range(40):
                assert server.ask(COINS, BODY).status == 200
            waiting = 40 - sum(len(batch.ids) for batch in server.spooled("shadow"))
            server.stop()

            assert waiting > 0, "the shadow kept up: it was not slow enough to prove anything"
            assert sum(len(batch.ids) for batch in server.spooled("champion")) == 40
            assert sum(len(batch.ids) for batch in server.spooled("shadow")) == 40

    def test_that_cannot_run_is_counted(self, tmp_path: Path) -> None:
        other_inputs = store(
            tmp_path, constant_classifier(0.5, 4), classifier_signature(4), id=2, version="2"
        )
        deploy(tmp_path, [coin(tmp_path, 0.25, id=1, version="1"), other_inputs], "1", "2")
        with running_server(tmp_path) as server:
            assert server.ask(COINS, BODY).status == 200

            wait_until(lambda: server.status_files()[0]["shadow_drops"] == {"1/other_inputs/2": 1})


class TestSlowModel:
    def test_runs_in_a_thread_while_others_are_answered(self, tmp_path: Path) -> None:
        quick = coin(tmp_path, 0.25, id=1, version="1")
        slow = coin(tmp_path, 0.75, id=2, version="2", slowness=30)
        deploy(tmp_path, [quick, slow], "1")
        with running_server(tmp_path) as server, server.connect() as waiting, server.connect() as brisk:
            server.ask("/v2/models/coins/versions/2/infer", BODY)  # loads it
            waiting.send(request_bytes("/v2/models/coins/versions/2/infer", BODY) + REQUEST)
            brisk.send(REQUEST)
            brisk.receive()
            first_of_slow = not waiting.socket.recv(1, 0x42)  # MSG_PEEK | MSG_DONTWAIT
            versions = [waiting.receive().headers["driftline-version"] for _ in range(2)]

        assert versions == ["2", "1"]
        assert first_of_slow is False


class TestFullSpool:
    def test_refuses_with_503_until_it_is_drained(self, tmp_path: Path) -> None:
        deploy(tmp_path, [coin(tmp_path, 0.25, id=1, version="1")], "1")
        with running_server(tmp_path, options=EngineOptions(spool_max_bytes=20_000)) as server:
            statuses: Counter[int] = Counter()

            def is_refused() -> bool:
                answer = server.ask(COINS, BODY)
                statuses[answer.status] += 1
                return answer.status == 503

            wait_until(is_refused)
            refused = server.ask(COINS, BODY)
            logged = sum(len(batch.ids) for batch in server.spooled())

            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert "spool is full" in refused.json["error"]
            assert logged == statuses[200]

    def test_answers_unlogged_where_the_policy_says_so(self, tmp_path: Path) -> None:
        deploy(tmp_path, [coin(tmp_path, 0.25, id=1, version="1")], "1")
        options = EngineOptions(spool_max_bytes=5_000, when_full="drop")
        with running_server(tmp_path, options=options) as server:
            wait_until(lambda: server.ask(COINS, BODY).headers["driftline-log"] == "dropped")

            wait_until(lambda: server.status_files()[0]["unlogged_rows"] >= 1)


@pytest.mark.parametrize("fsync", ["off", "always"])
def test_every_way_to_sync_logs_before_it_answers(tmp_path: Path, fsync: str) -> None:
    deploy(tmp_path, [coin(tmp_path, 0.25, id=1, version="1")], "1")
    with running_server(tmp_path, options=EngineOptions(fsync=fsync)) as server:  # type: ignore[arg-type]
        answer = server.ask(COINS, BODY)

        assert [batch.ids for batch in server.spooled()] == [[answer.headers["driftline-prediction-id"]]]
