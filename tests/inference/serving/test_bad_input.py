"""Bad input to inference: each gets its 4xx in the protocol's shape, and harms nobody else."""

import json
from typing import Any

import pytest

from tests.inference.serving.running import Server, request_bytes, rows_body
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SUMS = "/v2/models/sums/infer"
ECHOES = "/v2/models/echoes/infer"
SIZES = "/v2/models/sizes/infer"


def table(data: str, shape: str = "[1, 3]", datatype: str = "FP32") -> bytes:
    """Write a request of the sums by hand, where no JSON writer would."""
    return f'{{"inputs":[{{"name":"X","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}'.encode()


def texts(carrier: str, amount: str = "1") -> bytes:
    """Write a request of the echoes by hand."""
    return (
        '{"inputs":[{"name":"amount","shape":[1,1],"datatype":"FP32","data":[' + amount + "]},"
        '{"name":"carrier","shape":[1,1],"datatype":"BYTES","data":[' + carrier + "]}]}"
    ).encode()


def sizes(*values: int | None) -> bytes:
    """Write a request of the sizes."""
    tensor = {"name": "size", "shape": [len(values), 1], "datatype": "INT64", "data": values}
    return json.dumps({"inputs": [tensor]}).encode()


class TestValues:
    @pytest.mark.parametrize(
        ("path", "body", "status", "part"),
        [
            pytest.param(SUMS, table("[1,2,3]", "[3]"), 400, "the model takes [rows, 3]", id="rank"),
            pytest.param(SUMS, table("[1,2]", "[1,2]"), 400, "the model takes [rows, 3]", id="width"),
            pytest.param(SUMS, table("[[1,2,3],[4]]", "[2,3]"), 400, "unequal length", id="ragged"),
            pytest.param(SUMS, table("[]", "[0,3]"), 400, "has 0 rows", id="no rows"),
            pytest.param(SUMS, table("[1,2,3]", "[1,3]", "FP64"), 400, "takes FP32", id="datatype"),
            pytest.param(SUMS, table("[1,2,3]", "[1,3]", "BF16"), 400, "takes FP32", id="BF16"),
            pytest.param(SUMS, table('["NaN",2,3]'), 400, "holds 'NaN' at place 0", id="NaN as text"),
            pytest.param(SUMS, table('[1,"Infinity",3]'), 400, "holds 'Infinity'", id="infinity as text"),
            pytest.param(SUMS, table("[1,NaN,3]"), 400, "is no JSON number", id="NaN bare"),
            pytest.param(SUMS, table("[1,-Infinity,3]"), 400, "is no JSON number", id="infinity bare"),
            pytest.param(SUMS, table("[1,1e999,3]"), 400, "too large for a float", id="float too large"),
            pytest.param(SUMS, table("[1,1e39,3]"), 400, "not a value of FP32", id="too large for FP32"),
            pytest.param(SIZES, sizes(None), 400, "INT64 has no value for 'missing'", id="null whole number"),
            pytest.param(SUMS, rows_body(*[[0, 0, 0]] * 10_001), 413, "at most 10000", id="too many rows"),
            pytest.param(SIZES, sizes(2**32), 400, "more than 2147483648 bytes", id="a value as a size"),
            pytest.param(SIZES, sizes(2**60), 400, "The model cannot answer", id="a value as an absurd size"),
            pytest.param(ECHOES, texts("7"), 400, "not a value of BYTES", id="number as text"),
            pytest.param(ECHOES, texts('"\\ud800"'), 400, "surrogate", id="lone surrogate"),
            pytest.param(ECHOES, texts('"a\\u0000b"'), 400, "NUL", id="NUL"),
            pytest.param(ECHOES, texts('"a\x00b"'), 400, "not JSON", id="raw NUL"),
            pytest.param(ECHOES, texts('"x"', "{}"), 400, "at place 0", id="object for a number"),
        ],
    )
    def test_that_do_not_fit_are_refused(
        self, server: Server, path: str, body: bytes, status: int, part: str
    ) -> None:
        with server.connect() as connection:
            connection.send(request_bytes(path, body) + request_bytes(SUMS, rows_body([1, 2, 3])))

            refused, answered = connection.receive(), connection.receive()

        assert (refused.status, list(refused.json)) == (status, ["error"])
        assert part in refused.json["error"]
        assert "onnxruntime_src" not in refused.json["error"]
        assert answered.json["outputs"][0]["data"] == [6]

    def test_null_is_a_missing_number_and_a_missing_text_where_the_model_has_a_token(
        self, server: Server
    ) -> None:
        answer = server.ask(ECHOES, texts("null", "null"))

        assert [output["data"] for output in answer.json["outputs"]] == [[None], [""]]

    def test_null_never_becomes_the_text_none(self, server: Server) -> None:
        inputs = [
            {
                "name": name.lower(),
                "shape": [1, 1],
                "datatype": name,
                "data": [None if name == "BYTES" else name == "BOOL" or 1],
            }
            for name in _datatypes(server)
        ]

        answer = server.ask("/v2/models/types/infer", json.dumps({"inputs": inputs}).encode())

        assert (answer.status, "names no token for a missing one" in answer.json["error"]) == (400, True)

    def test_that_the_model_cannot_answer_do_not_fail_their_neighbours_in_the_run(
        self, server: Server
    ) -> None:
        with server.connect() as connection:
            bodies = [sizes(10), sizes(2**32), sizes(20)]
            connection.send(b"".join(request_bytes(SIZES, body) for body in bodies))

            answers = [connection.receive() for _ in bodies]

        assert [answer.status for answer in answers] == [200, 400, 200]

    def test_outputs_that_are_not_finite_are_null_with_a_warning_and_counted(self, server: Server) -> None:
        def invalid() -> int:
            [status] = server.status_files()
            return sum(
                series["invalid_outputs"]
                for key, series in status["series"].items()
                if key.startswith("3/champion/")
            )

        before = invalid()
        answer = server.ask(ECHOES, texts('"AA"', "null"))

        assert b"NaN" not in answer.body
        assert answer.json["outputs"][0]["data"] == [None]
        assert "not finite in number" in answer.json["parameters"]["driftline_warnings"]
        wait_until(lambda: invalid() > before)


def _datatypes(server: Server) -> list[str]:
    inputs: list[dict[str, Any]] = server.ask("/v2/models/types", method="GET").json["inputs"]
    return [tensor["datatype"] for tensor in inputs]
