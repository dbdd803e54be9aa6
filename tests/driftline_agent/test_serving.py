"""Programs of the device ask over the Open Inference Protocol; whatever else they send is refused in words."""

import http.client
import json
import math
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from driftline_agent import serving
from driftline_agent.http_server import MAX_BODY_BYTES, MAX_JSON_BYTES, MAX_LARGE_BODIES, LoopbackServer
from driftline_agent.model import SAMPLE_BYTES, SAMPLE_ROWS, rows_of_a_sample
from driftline_agent.rows.row_store import RowStore
from driftline_agent.server.device_clock import DeviceClock
from driftline_agent.serving import FAILURES_IN_A_ROW, Dataplane
from inference.signatures import Signature
from tests.driftline_agent.device import PlayedDevice, times
from tests.inference.onnx_models import (
    classifier_signature,
    constant_classifier,
    echoing_model,
    echoing_signature,
    embedding_model,
    embedding_signature,
    image_model,
    image_signature,
    linear_model,
    probability_model,
    probability_signature,
)

ONE = {"inputs": [{"name": "X", "shape": [1, 1], "datatype": "FP32", "data": [2.0]}]}
INFER = "/v2/models/fuel/infer"


@dataclass
class Program:
    """A program of the device, and what it can look at."""

    device: PlayedDevice
    rows: RowStore
    port: int

    def have(self, content: bytes, version: str, signature: Signature | None = None) -> None:
        """Let a version answer."""
        self.device.server.offer(content, version, signature=signature)
        self.device.updater.poll()

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, content, named)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None

    def ask(self, body: Any = ONE, path: str = INFER) -> tuple[int, Any]:
        return self.send("POST", path, body)

    def stored(self) -> list[dict[str, Any]]:
        found = self.rows.oldest(rows=1_000, max_bytes=1 << 30, earliest_ms=0)
        return [json.loads(row.body) for row in found]


@pytest.fixture
def program(device: PlayedDevice, tmp_path: Path) -> Iterator[Program]:
    rows = RowStore(tmp_path / "rows.db", max_bytes=1 << 20, clock=DeviceClock(), first_sequence=1)
    server = LoopbackServer(0, Dataplane(device.in_use, rows, "truck"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Program(device, rows, server.server_port)
    server.shutdown()
    server.server_close()
    thread.join()
    rows.close()


class TestAnAnswer:
    def test_is_the_models_with_the_id_by_which_labels_find_its_row(self, program: Program) -> None:
        program.have(times(3), "3")

        status, answer = program.ask()

        assert status == 200
        assert answer["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1, 1], "data": [6.0]}]
        assert (answer["model_name"], answer["model_version"], answer["id"]) == ("fuel", "3", "truck-1")
        assert answer["parameters"] == {"prediction_ids": ["truck-1"]}

    def test_keeps_the_id_that_the_request_had(self, program: Program) -> None:
        program.have(times(3), "3")

        _, answer = program.ask({**ONE, "id": "mine"})

        assert (answer["id"], answer["parameters"]["prediction_ids"]) == ("mine", ["truck-1"])

    def test_of_several_rows_stores_each(self, program: Program) -> None:
        program.have(times(2), "2")
        tensor = {"name": "X", "shape": [3, 1], "datatype": "FP32", "data": [[1], [2.5], [3]]}

        _, answer = program.ask({"inputs": [tensor]})

        assert answer["parameters"]["prediction_ids"] == ["truck-1", "truck-2", "truck-3"]
        assert [(row["features"], row["prediction"]) for row in program.stored()] == [
            ({"x": 1.0}, 2.0),
            ({"x": 2.5}, 5.0),
            ({"x": 3.0}, 6.0),
        ]

    def test_of_a_classifier_stores_class_and_probabilities(self, program: Program) -> None:
        program.have(constant_classifier(0.75, 3), "1", classifier_signature(3))
        tensor = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}

        program.ask({"inputs": [tensor]})

        (row,) = program.stored()
        assert (row["prediction"], row["probabilities"]) == ("1", {"0": 0.25, "1": 0.75})
        assert row["features"] == {"f0": 1.0, "f1": 2.0, "f2": 3.0}

    def test_of_a_lone_probability_stores_both_classes(self, program: Program) -> None:
        program.have(probability_model(), "1", probability_signature())
        tensor = {"name": "X", "shape": [3, 1], "datatype": "FP32", "data": [0.25, 0.5, 0.75]}

        status, _ = program.ask({"inputs": [tensor]})

        assert status == 200
        assert [(row["prediction"], row["probabilities"]) for row in program.stored()] == [
            ("idle", {"idle": 0.75, "busy": 0.25}),
            ("idle", {"idle": 0.5, "busy": 0.5}),
            ("busy", {"idle": 0.25, "busy": 0.75}),
        ]

    def test_of_a_tensor_of_higher_rank_stores_no_features(self, program: Program) -> None:
        program.have(image_model(), "1", image_signature())
        tensor = {"name": "X", "shape": [2, 2, 2], "datatype": "FP32", "data": [1, 2, 3, 4, 5, 6, 7, 8]}

        program.ask({"inputs": [tensor]})

        stored = [(row["features"], row["prediction"]) for row in program.stored()]
        assert stored == [({}, 10.0), ({}, 26.0)]

    def test_of_one_input_a_feature_stores_texts_and_what_is_missing(self, program: Program) -> None:
        program.have(echoing_model(), "1", echoing_signature())
        amount = {"name": "amount", "shape": [2, 1], "datatype": "FP32", "data": [1.5, 2.5]}
        carrier = {"name": "carrier", "shape": [2, 1], "datatype": "BYTES", "data": ["AA", ""]}

        program.ask({"inputs": [carrier, amount]})

        assert [row["features"] for row in program.stored()] == [
            {"amount": 1.5, "carrier": "AA"},
            {"amount": 2.5, "carrier": None},
        ]

    def test_comes_also_where_the_disk_takes_no_row(self, program: Program) -> None:
        program.have(times(2), "2")
        program.rows.db.execute("PRAGMA max_page_count = 1")  # it keeps what it has and takes no page more
        program.rows.db.execute("PRAGMA query_only = 1")

        status, answer = program.ask()

        assert (status, answer["outputs"][0]["data"]) == (200, [4.0])
        assert "parameters" not in answer

    def test_comes_also_where_its_row_is_no_json(
        self, program: Program, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program.have(times(2), "2")
        monkeypatch.setattr(serving, "rows_of", lambda *_: [{"prediction": math.inf}])

        status, answer = program.ask()

        assert (status, program.stored()) == (200, [])
        assert "parameters" not in answer


class TestARequestThatCannotBeAnswered:
    @pytest.mark.parametrize(
        ("body", "part"),
        [
            (b"", "not JSON"),
            (b"\xff", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b'{"inputs": [NaN]}', "not JSON"),
            ([], "must be an object"),
            ({}, "'inputs'"),
            ({"inputs": []}, "'inputs'"),
            ({"inputs": [1]}, "'name'"),
            ({"inputs": ONE["inputs"] * 2}, "'name'"),
            ({**ONE, "id": 7}, "'id'"),
            ({"inputs": [{**ONE["inputs"][0], "name": "Y"}]}, "'name' must be one of X"),
            ({"inputs": [{**ONE["inputs"][0], "datatype": "FP64"}]}, "'datatype' must be FP32"),
            ({"inputs": [{**ONE["inputs"][0], "shape": [1]}]}, "'shape'"),
            ({"inputs": [{**ONE["inputs"][0], "shape": [1, 2]}]}, "'shape'"),
            ({"inputs": [{**ONE["inputs"][0], "shape": [0, 1]}]}, "'shape'"),
            ({"inputs": [{**ONE["inputs"][0], "shape": [True, 1]}]}, "'shape'"),
            ({"inputs": [{**ONE["inputs"][0], "shape": [2, 1]}]}, "2 values"),
            ({"inputs": [{**ONE["inputs"][0], "shape": [10**9, 1]}]}, "1,000,000,000 values"),
            ({"inputs": [{**ONE["inputs"][0], "data": ["2"]}]}, "values of FP32"),
            ({"inputs": [{**ONE["inputs"][0], "data": [True]}]}, "values of FP32"),
            ({"inputs": [{**ONE["inputs"][0], "data": {"0": 1}}]}, "1 values"),
            ({"inputs": [{**ONE["inputs"][0], "data": [10**400]}]}, "cannot hold"),
            ({"inputs": [{**ONE["inputs"][0], "data": [1e39]}]}, "cannot hold"),
            (
                json.dumps({"inputs": [{**ONE["inputs"][0], "data": [7]}]}).replace("7", "1e999").encode(),
                "cannot hold",
            ),
            ({"inputs": [{**ONE["inputs"][0], "shape": [2_000, 1], "data": [1] * 2_000}]}, "1 to 1000"),
        ],
    )
    def test_is_refused_in_words_and_stores_nothing(self, program: Program, body: Any, part: str) -> None:
        program.have(times(2), "2")

        status, answer = program.ask(body)

        assert status == 400
        assert part in answer["error"]
        assert program.stored() == []
        assert program.ask()[0] == 200

    def test_has_as_many_columns_as_features_where_the_model_leaves_them_open(self, program: Program) -> None:
        program.have(probability_model(), "1", probability_signature())

        status, answer = program.ask({"inputs": [{**ONE["inputs"][0], "shape": [1, 2], "data": [0.5, 0.5]}]})

        assert (status, program.stored()) == (400, [])
        assert "'shape' must fit [-1, 1]" in answer["error"]

    def test_for_another_model_or_version_is_not_found(self, program: Program) -> None:
        program.have(times(2), "2")

        paths = ["/v2/models/gold/infer", "/v2/models/fuel/versions/9/infer", "/v2/models/fuel", "/"]

        assert [program.ask(path=path)[0] for path in paths] == [404] * 4
        assert program.ask(path="/v2/models/fuel/versions/2/infer")[0] == 200

    def test_comes_too_early_before_there_is_a_version(self, program: Program) -> None:
        assert program.ask()[0] == 503

    def test_is_refused_where_the_model_answers_nan_and_stores_nothing(self, program: Program) -> None:
        program.have(linear_model(float("nan"), 0.0), "1")

        status, answer = program.ask()

        assert (status, program.stored()) == (500, [])
        assert "NaN" in answer["error"]

    def test_with_a_missing_number_does_not_count_against_the_version(self, program: Program) -> None:
        program.have(times(2), "2")
        missing = {"inputs": [{**ONE["inputs"][0], "data": [None]}]}

        statuses = {program.ask(missing)[0] for _ in range(FAILURES_IN_A_ROW)}

        assert statuses == {500}
        assert not program.device.in_use.needs_look.is_set()

    def test_counts_against_a_version_that_answers_nan_to_numbers(self, program: Program) -> None:
        program.have(linear_model(float("nan"), 0.0), "1")

        for _ in range(FAILURES_IN_A_ROW):
            program.ask()

        assert program.device.in_use.needs_look.is_set()


def test_the_rows_that_prove_a_version_take_little_memory(device: PlayedDevice) -> None:
    image = {"X": np.ones((1, 3, 512, 512), np.float32)}

    for _ in range(SAMPLE_ROWS + 1):
        device.in_use.note_answer(image)
    large = device.in_use.sample()
    for _ in range(SAMPLE_ROWS + 1):
        device.in_use.note_answer({"X": np.ones((1, 3), np.float32)})
    small = device.in_use.sample()

    assert large is not None
    assert large["X"].nbytes <= SAMPLE_BYTES
    assert len(large["X"]) == rows_of_a_sample(image) == 1
    assert small is not None
    assert len(small["X"]) == SAMPLE_ROWS


class TestTheServer:
    def test_says_whether_it_lives_and_is_ready(self, program: Program) -> None:
        paths = ["/v2/health/live", "/v2/health/ready", "/v2/models/fuel/ready"]
        before = [program.send("GET", path)[0] for path in paths]

        program.have(times(2), "2")

        assert before == [200, 503, 503]
        assert [program.send("GET", path)[0] for path in paths] == [200, 200, 200]

    def test_describes_its_version(self, program: Program) -> None:
        program.have(times(2), "2")

        _, answer = program.send("GET", "/v2/models/fuel")

        assert (answer["versions"], answer["inputs"]) == (
            ["2"],
            [{"name": "X", "datatype": "FP32", "shape": [-1, 1]}],
        )

    def test_refuses_a_body_that_is_too_large_before_it_reads_it(self, program: Program) -> None:
        status, _ = program.send("POST", INFER, None, Content_Length=str(MAX_BODY_BYTES + 1))

        assert status == 413

    def test_takes_and_gives_bytes_behind_the_json(self, program: Program) -> None:
        program.have(times(3), "3")
        tensor = {
            "name": "X", "shape": [1, 1], "datatype": "FP32", "parameters": {"binary_data_size": 4}
        }  # fmt: skip
        head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()

        connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=30)
        headers = {"Inference-Header-Content-Length": str(len(head))}
        connection.request("POST", INFER, head + struct.pack("<f", 2.0), headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()

        length = int(answer.headers["Inference-Header-Content-Length"])
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert json.loads(content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 4}
        assert struct.unpack("<f", content[length:]) == (6.0,)

    def test_refuses_json_that_is_too_large_also_before_tensors(self, program: Program) -> None:
        program.have(times(3), "3")

        status, answer = program.send("POST", INFER, b" " * (MAX_JSON_BYTES + 1))

        assert (status, "send tensors as bytes behind it" in answer["error"]) == (413, True)

    @pytest.mark.slow
    def test_answers_large_tensors_of_many_programs_at_once(self, program: Program) -> None:
        program.have(embedding_model(), "1", embedding_signature())
        images = np.ones((900, 3, 4, 4, 8), "<f4")[..., 0]
        tensor = {"name": "X", "shape": [900, 3, 4, 4], "datatype": "FP32"}
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": images.nbytes}}]})
        padded = head.encode() + b" " * (MAX_JSON_BYTES - len(head))  # so that the body is a large one

        def ask() -> int:
            connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=30)
            headers = {"Inference-Header-Content-Length": str(len(padded))}
            connection.request("POST", INFER, padded + images.tobytes(), headers)
            status = connection.getresponse().status
            connection.close()
            return status

        with ThreadPoolExecutor(2 * MAX_LARGE_BODIES) as pool:
            statuses = [one.result() for one in [pool.submit(ask) for _ in range(3 * MAX_LARGE_BODIES)]]

        assert statuses == [200] * len(statuses)

    def test_says_so_where_it_fails_itself(self, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
        program.have(times(3), "3")
        monkeypatch.setattr(serving, "rows_of", lambda *_: 1 / 0)

        status, answer = program.ask()

        assert (status, "its log says why" in answer["error"]) == (500, True)

    @pytest.mark.parametrize("length", ["-1", "x", "100000", "9" * 5_000])
    def test_refuses_a_length_of_the_json_that_is_none(self, program: Program, length: str) -> None:
        program.have(times(3), "3")

        status, answer = program.send("POST", INFER, ONE, Inference_Header_Content_Length=length)

        assert (status, "must be the length of the JSON" in answer["error"]) == (400, True)

    @pytest.mark.parametrize("length", ["-1", "x", "1e3", "٣"])
    def test_refuses_a_length_that_is_none(self, program: Program, length: str) -> None:
        head = f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"

        assert self._first_line(program, head.encode()) == b"HTTP/1.1 411 Length Required"

    @pytest.mark.parametrize(
        "header", ["Host: evil.example", "Host: localhost\r\nOrigin: http://evil.example"]
    )
    def test_refuses_what_a_page_of_a_browser_sends(self, program: Program, header: str) -> None:
        head = f"GET /v2/health/live HTTP/1.1\r\n{header}\r\n\r\n"

        assert self._first_line(program, head.encode()) == b"HTTP/1.1 403 Forbidden"

    def test_answers_others_while_a_connection_is_silent(self, program: Program) -> None:
        program.have(times(2), "2")

        with socket.create_connection(("127.0.0.1", program.port)):
            assert program.ask()[0] == 200

    def _first_line(self, program: Program, head: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", program.port), timeout=30) as connection:
            connection.sendall(head)
            return connection.makefile("rb").readline().strip()


def test_a_swap_waits_for_no_request_and_changes_none_that_runs(program: Program) -> None:
    program.have(times(2), "2")
    before = program.device.in_use.model
    assert before is not None

    program.have(times(3), "3")

    assert (before.manifest.version, program.ask()[1]["model_version"]) == ("2", "3")
