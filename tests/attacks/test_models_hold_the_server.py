"""One project's model, whose cost one number in a request decides, beside another project's model that sums."""

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from inference.serving.crashes import read_crashes
from inference.serving.options import EngineOptions
from inference.serving.plan import PlanModel, PlanVersion
from tests.attacks.models import (
    attack_signature,
    boxes_model,
    boxes_that_take,
    large_answer_model,
    strings_model,
)
from tests.inference.onnx_models import store, summing_model, summing_signature
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

NEIGHBOUR, ATTACK = "/v2/models/sums/infer", "/v2/models/attack/infer"


def deploy(home: Path, model: bytes, *, wide: bool = False, value_costs: bool = True) -> PlanVersion:
    """Publish the attack of project 2 beside the sums of project 1."""
    sums = store(home, summing_model(3), summing_signature(3), id=1, version="1")
    attack = store(home, model, attack_signature(wide=wide), id=2, version="1")
    attack = msgspec.structs.replace(attack, value_costs=value_costs)
    models = [PlanModel(1, 1, "sums", 1, "1", [], [sums]), PlanModel(2, 2, "attack", 1, "1", [], [attack])]
    publish(home, models, [token("dl_infer"), token("dl_theirs", project_id=2)])
    return attack


def ask_neighbour(server: Server) -> Response:
    return server.ask(NEIGHBOUR, rows_body([1, 2, 3]))


def attack_body(number: int) -> bytes:
    tensor = {"name": "X", "shape": [1, 1], "datatype": "INT64", "data": [number]}
    return json.dumps({"inputs": [tensor]}).encode()


def attack(server: Server, number: int) -> Response:
    return server.ask(ATTACK, attack_body(number), token="dl_theirs")


class Answers(threading.Thread):
    """A request that is asked beside the test."""

    def __init__(self, ask: Callable[[], Response]) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self.response: Response | None = None
        self.start()

    def run(self) -> None:
        self.response = self._ask()

    def wait(self) -> Response:
        wait_until(lambda: self.response is not None)
        assert self.response is not None
        return self.response


def pids(server: Server) -> list[int]:
    return [status["pid"] for status in server.status_files() if status["ready"]]


class TestAKernelThatTakesSeconds:
    def test_never_runs_in_the_event_loop_so_that_neighbours_are_answered_first(self, tmp_path: Path) -> None:
        deploy(tmp_path, boxes_model())
        boxes = boxes_that_take(8)
        with running_server(tmp_path) as server:
            assert attack(server, 3).status == 200
            long = Answers(lambda: attack(server, boxes))
            wait_until(lambda: any(status["load"]["threads"] for status in server.status_files()))

            neighbours = [ask_neighbour(server).status for _ in range(20)]

            assert neighbours == [200] * 20
            assert long.response is None
            assert long.wait().status == 200

    @pytest.mark.e2e
    def test_that_the_intake_overlooked_ends_the_process_and_answers_all_that_wait(
        self, tmp_path: Path
    ) -> None:
        version = deploy(tmp_path, boxes_model(), value_costs=False)
        boxes = boxes_that_take(8)
        with running_server(tmp_path) as server:
            for _ in range(2):
                [pid] = pids(server)
                assert attack(server, 3).status == 200
                with server.connect() as idle:  # it sends its request while nobody reads it
                    long = Answers(lambda: attack(server, boxes))
                    stuck = Answers(lambda: ask_neighbour(server))

                    assert (long.wait().status, stuck.wait().status in (200, 503)) == (503, True)
                    assert int(long.wait().headers["retry-after"]) >= 1
                    assert idle.is_closed_by_server()
                wait_until(lambda pid=pid: pids(server) not in ([], [pid]))
            held_back = attack(server, 3)

            assert ask_neighbour(server).status == 200
            assert held_back.status == 503
            assert "held up a serving process" in held_back.json["error"]
        assert read_crashes(tmp_path)[version.id].quarantined

    @pytest.mark.e2e
    def test_answers_also_a_connection_that_came_in_the_same_turn_of_the_event_loop(
        self, tmp_path: Path
    ) -> None:
        deploy(tmp_path, boxes_model(), value_costs=False)
        boxes = boxes_that_take(8)
        with running_server(tmp_path) as server, server.connect() as kept:
            [pid] = pids(server)
            kept.send(request_bytes(ATTACK, attack_body(3), token="dl_theirs"))
            assert kept.receive().status == 200
            os.kill(pid, signal.SIGSTOP)  # so that both have come when it looks
            kept.send(request_bytes(ATTACK, attack_body(boxes), token="dl_theirs"))
            with server.connect() as accepted:
                accepted.send(request_bytes(NEIGHBOUR, rows_body([1, 2, 3])))
                os.kill(pid, signal.SIGCONT)

                assert (kept.receive().status, accepted.receive().status) == (503, 503)

    @pytest.mark.e2e
    def test_that_does_not_end_costs_the_process_its_place_and_nobody_an_answer(self, tmp_path: Path) -> None:
        version = deploy(tmp_path, boxes_model())
        boxes = boxes_that_take(8)
        with running_server(tmp_path, options=EngineOptions(max_run_seconds=0.5)) as server:
            for _ in range(2):
                [pid] = pids(server)
                long = Answers(lambda: attack(server, boxes))
                statuses = set()
                while long.response is None or pids(server) in ([], [pid]):
                    statuses.add(ask_neighbour(server).status)

                assert statuses == {200}
                assert long.wait().status == 504
                wait_until(lambda pid=pid: pid not in pids(server))

            assert "did not end a run" in attack(server, 3).json["error"]
        assert read_crashes(tmp_path)[version.id].quarantined


class TestMemory:
    def test_of_texts_is_bounded_and_its_version_is_quarantined(self, tmp_path: Path) -> None:
        deploy(tmp_path, strings_model())
        options = EngineOptions(max_memory_bytes=1 << 30)
        with running_server(tmp_path, options=options) as server:
            for _ in range(2):
                [pid] = pids(server)
                assert attack(server, 1_000_000).status == 503
                wait_until(lambda pid=pid: pids(server) not in ([], [pid]))

            assert "took more memory than a serving process may hold" in attack(server, 10).json["error"]
            assert ask_neighbour(server).status == 200

    def test_of_an_answer_is_bounded_before_it_is_written(self, tmp_path: Path) -> None:
        deploy(tmp_path, large_answer_model(), wide=True)
        with running_server(tmp_path) as server:
            refused = attack(server, 100_000_000)
            written = attack(server, 100_000)

            assert refused.status == 400
            assert "100,000,001 values, and 4,194,304 is the most" in refused.json["error"]
            assert written.json["outputs"][1]["data"] == [1.5] * 100_000
            assert ask_neighbour(server).status == 200
