"""Versions in processes of their own, behind a real server: they answer, shadow, batch and follow the plan alike."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inference.serving.plan import NONE, PROCESS, PlanModel
from tests.inference.onnx_models import (
    constant_number,
    echoing_model,
    echoing_signature,
    failing_model,
    store,
    summing_model,
    summing_signature,
)
from tests.inference.serving.running import Server, publish, request_bytes, rows_body, running_server, token
from tests.waiting import wait_until


def deploy(home: Path, isolation: str, generation: int = 1) -> None:
    """Publish one model with a shadow, one of texts, and one that cannot answer every row."""

    def keep(model: bytes, signature: Any, id: int, version: str = "1") -> Any:
        stored = store(home, model, signature, id=id, version=version)
        return msgspec.structs.replace(stored, isolation=isolation)

    sums = [
        keep(summing_model(3), summing_signature(3), 1),
        keep(constant_number(7, 3), summing_signature(3), 2, "2"),
    ]
    models = [
        PlanModel(1, 1, "sums", generation, "1", ["2"], sums),
        PlanModel(2, 1, "echoes", generation, "1", [], [keep(echoing_model(), echoing_signature(), 3)]),
        PlanModel(3, 1, "failing", generation, "1", [], [keep(failing_model(3), summing_signature(3), 4)]),
    ]  # fmt: skip
    publish(home, models, [token("dl_infer")], generation)


def ask(server: Server, model: str, body: bytes) -> Any:
    answer = server.ask(f"/v2/models/{model}/infer", body)
    return answer.status, {output["name"]: output["data"] for output in answer.json.get("outputs", [])}


TEXTS = {
    "inputs": [
        {"name": "amount", "shape": [2, 1], "datatype": "FP32", "data": [1.5, None]},
        {"name": "carrier", "shape": [2, 1], "datatype": "BYTES", "data": ["ÄÖ", ""]},
    ]
}


@pytest.fixture(scope="module")
def isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("home")
    deploy(home, PROCESS)
    with running_server(home) as server:
        yield server


class TestIsolatedVersions:
    def test_answer_rows_texts_and_large_requests(self, isolated: Server) -> None:
        many = [[place, 0, 1] for place in range(3000)]

        assert ask(isolated, "sums", rows_body([1, 2, 3])) == (200, {"sum": [6.0]})
        assert ask(isolated, "sums", rows_body(*many)) == (
            200,
            {"sum": [place + 1.0 for place in range(3000)]},
        )
        assert ask(isolated, "echoes", json.dumps(TEXTS).encode()) == (
            200,
            {"number": [1.5, None], "text": ["ÄÖ", ""]},
        )

    def test_answer_each_of_many_at_once_by_its_own_row(self, isolated: Server) -> None:
        connections = [isolated.connect() for _ in range(24)]
        for place, connection in enumerate(connections):
            for step in range(4):
                connection.send(request_bytes("/v2/models/sums/infer", rows_body([place, step, 0.5])))

        sums = [
            [connection.receive().json["outputs"][0]["data"][0] for _ in range(4)]
            for connection in connections
        ]
        for connection in connections:
            connection.socket.close()

        assert sums == [[place + step + 0.5 for step in range(4)] for place in range(24)]

    def test_refuse_the_one_request_that_the_model_cannot_answer(self, isolated: Server) -> None:
        connections = [isolated.connect() for _ in range(6)]
        for place, connection in enumerate(connections):
            row = [-1, 0, 0] if place == 3 else [place, 0, 0]
            connection.send(request_bytes("/v2/models/failing/infer", rows_body(row)))

        statuses = [connection.receive().status for connection in connections]
        for connection in connections:
            connection.socket.close()

        assert statuses == [200, 200, 200, 400, 200, 200]

    def test_shadow_what_the_champion_answers(self, isolated: Server) -> None:
        answer = isolated.ask("/v2/models/sums/infer", rows_body([4, 5, 6]))
        prediction = answer.headers["driftline-prediction-id"]

        def shadowed() -> list[Any]:
            return [batch for batch in isolated.spooled("shadow") if prediction in batch.ids]

        [batch] = wait_until(shadowed)
        assert batch.version_id == 2

    def test_end_a_run_at_the_callers_deadline_and_answer_the_next(self, isolated: Server) -> None:
        late = isolated.ask("/v2/models/sums/infer", rows_body([1, 2, 3], parameters={"timeout": 1}))

        assert late.status in (200, 504)
        assert ask(isolated, "sums", rows_body([1, 2, 3])) == (200, {"sum": [6.0]})


def test_a_plan_that_changes_the_isolation_moves_the_model(tmp_path: Path) -> None:
    deploy(tmp_path, NONE)
    with running_server(tmp_path) as server:
        worker = server.status_files()[0]["pid"]
        assert models_below(worker) == 0
        deploy(tmp_path, PROCESS, generation=2)
        wait_until(lambda: models_below(worker) == 4)
        assert ask(server, "sums", rows_body([1, 2, 3])) == (200, {"sum": [6.0]})
        deploy(tmp_path, NONE, generation=3)
        wait_until(lambda: models_below(worker) == 0)
        assert ask(server, "sums", rows_body([1, 2, 3])) == (200, {"sum": [6.0]})


def models_below(worker: int) -> int:
    """Count the processes of versions that a serving process has, through its fork server."""
    found = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = path.read_text().partition("(")[2].rpartition(")")
            parent = int(rest.split()[1])
            grandparent = int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        found += name == "driftline-model" and grandparent == worker
    return found
