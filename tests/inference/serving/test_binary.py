"""Binary tensors and every datatype, through a real server."""

import json
import struct
from typing import Any

import numpy as np
import pytest

from inference.protocol.v2.tensors import NUMPY_TYPES
from tests.inference.serving.running import Response, Server, request_bytes, rows_body
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SUMS = "/v2/models/sums/infer"
TYPES = "/v2/models/types/infer"
VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "INT8": [-(2**7), 2**7 - 1],
    "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "UINT8": [0, 2**8 - 1],
    "UINT16": [0, 2**16 - 1],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "FP16": [0.5, -65504.0],
    "FP32": [0.1, -1e-38],
    "FP64": [0.1, 1e308],
    "BYTES": ["", 'Z\u00fcrich: "x"'],
}


def raw(datatype: str) -> bytes:
    if datatype == "BYTES":
        texts = [text.encode() for text in VALUES["BYTES"]]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return np.array(VALUES[datatype], NUMPY_TYPES[datatype]).tobytes()


def ask_binary(server: Server, path: str, document: Any, tail: bytes) -> Response:
    text = json.dumps(document).encode()
    return server.ask(path, text + tail, headers={"inference-header-content-length": str(len(text))})


def parts(answer: Response) -> tuple[Any, bytes]:
    size = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    return json.loads(answer.body[:size]), answer.body[size:]


class TestEveryDatatype:
    def test_comes_back_in_json_as_it_was_sent(self, server: Server) -> None:
        inputs = [
            {"name": name.lower(), "shape": [2, 1], "datatype": name, "data": values}
            for name, values in VALUES.items()
        ]

        answer = server.ask(TYPES, json.dumps({"inputs": inputs}).encode())

        assert answer.status == 200, answer.body
        for output, (datatype, values) in zip(answer.json["outputs"], VALUES.items(), strict=True):
            assert (output["datatype"], output["shape"]) == (datatype, [2, 1])
            near = pytest.approx(values, rel=1e-7) if datatype.startswith("FP") else values
            assert output["data"] == near

    def test_comes_back_in_binary_byte_for_byte(self, server: Server) -> None:
        inputs = [
            {
                "name": name.lower(),
                "shape": [2, 1],
                "datatype": name,
                "parameters": {"binary_data_size": len(raw(name))},
            }
            for name in VALUES
        ]
        everything = b"".join(raw(name) for name in VALUES)
        document = {"inputs": inputs, "parameters": {"binary_data_output": True}}

        head, tail = parts(ask_binary(server, TYPES, document, everything))

        assert tail == everything
        assert [output["parameters"]["binary_data_size"] for output in head["outputs"]] == [
            len(raw(name)) for name in VALUES
        ]


class TestBinaryRequest:
    def test_is_logged_like_one_in_json(self, server: Server) -> None:
        tensor = {"name": "X", "shape": [1, 3], "datatype": "FP32"}
        row = struct.pack("<3f", 1, 2, 3.5)
        document = {"inputs": [{**tensor, "parameters": {"binary_data_size": 12}}]}

        answer = ask_binary(server, SUMS, document, row)

        assert (answer.status, answer.json["outputs"][0]["data"]) == (200, [6.5])
        wait_until(lambda: find(server, answer))
        assert b"".join(column.data for column in find(server, answer).features) == row

    def test_may_be_the_data_alone(self, server: Server) -> None:
        row = struct.pack("<3f", 1, 2, 3.5)

        head, tail = parts(server.ask(SUMS, row, headers={"inference-header-content-length": "0"}))

        assert head["outputs"][0]["shape"] == [1, 1]
        assert struct.unpack("<f", tail) == (6.5,)

    def test_shares_a_run_with_json(self, server: Server) -> None:
        text = rows_body([1, 2, 3])
        row = struct.pack("<3f", 4, 5, 6)
        with server.connect() as connection:
            connection.send(request_pair(text, row))

            plain, binary = connection.receive(), connection.receive()

        assert plain.json["outputs"][0]["data"] == [6]
        assert struct.unpack("<f", parts(binary)[1]) == (15,)

    @pytest.mark.parametrize(
        ("headers", "status", "part"),
        [
            ({"inference-header-content-length": "-1"}, 400, "Inference-Header-Content-Length"),
            ({"inference-header-content-length": "99999"}, 400, "Inference-Header-Content-Length"),
            ({"inference-header-content-length": "0"}, 400, "whole rows"),
        ],
    )
    def test_says_in_json_what_is_wrong(
        self, server: Server, headers: dict[str, str], status: int, part: str
    ) -> None:
        answer = server.ask(SUMS, b"12345", headers=headers)

        assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
        assert part in answer.json["error"]


class TestClassification:
    def test_names_the_likeliest_classes(self, server: Server) -> None:
        wanted = [{"name": "probabilities", "parameters": {"classification": 2}}]

        answer = server.ask("/v2/models/coins/infer", rows_body([1, 2, 3], outputs=wanted))

        assert answer.json["outputs"] == [
            {
                "name": "probabilities",
                "datatype": "BYTES",
                "shape": [1, 2],
                "data": ["0.750000:0:0", "0.250000:1:1"],
            }
        ]


def find(server: Server, answer: Response) -> Any:
    prediction_id = answer.headers["driftline-prediction-id"]
    return next((batch for batch in server.spooled("champion") if prediction_id in batch.ids), None)


def request_pair(text: bytes, row: bytes) -> bytes:
    return request_bytes(SUMS, text) + request_bytes(
        SUMS, row, headers={"inference-header-content-length": "0"}
    )
