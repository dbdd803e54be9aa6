"""MLflow's scoring protocol."""

import json
import math
from typing import Any

import pytest

from inference.protocol.dialect import ONLY_MODEL, Target
from inference.protocol.matching import MAX_ROWS
from inference.protocol.mlflow import MLFLOW
from inference.protocol.v2.tensors import InvalidRequest, TooManyRows
from inference.signatures import Signature
from tests.inference.protocol.signatures import BY_FEATURE, CLASSES, COINS, SUMS, TABLE, one_input, values_of


def read(signature: Signature, body: str | bytes, **headers: bytes) -> Any:
    given = body.encode() if isinstance(body, str) else body
    named = {f"driftline-{name}".encode(): value for name, value in headers.items()}
    return MLFLOW.compile("m", "1", signature).decode(given, named)


def values(signature: Signature, body: str | bytes) -> dict[str, Any]:
    return values_of(signature, read(signature, body).tensors)


class TestJson:
    @pytest.mark.parametrize(
        "body",
        [
            '{"dataframe_split":{"columns":["f2","f1","f0"],"index":[7],"data":[[3,2,1]]}}',
            '{"dataframe_split":{"data":[[1,2,3]]}}',
            '{"dataframe_records":[{"f1":2,"f0":1,"f2":3}]}',
            '{"instances":[[1,2,3]]}',
            '{"instances":[{"X":[1,2,3]}]}',
            '{"inputs":[[1,2,3]]}',
            '{"inputs":{"f0":[1],"f1":[2],"f2":[3]}}',
            ' {"inputs":{"X":[[1,2,3]]},"params":{"temperature":1}}',
        ],
    )
    def test_is_read_in_each_form(self, body: str) -> None:
        assert values(TABLE, body) == {"X": [[1, 2, 3]]}

    def test_holds_nan_for_missing_numbers(self) -> None:
        found = values(TABLE, '{"dataframe_split":{"columns":["f0","f1","f2"],"data":[[NaN,2,3]]}}')

        assert math.isnan(found["X"][0][0])

    def test_says_in_params_what_v2_says_in_parameters(self) -> None:
        body = '{"instances":[[1,2,3]],"params":{"driftline_id":"a","timeout":1500,"other":[1]}}'

        facts = read(TABLE, body, id=b"b", subject=b"eva").facts

        assert (facts.key, facts.timeout_us, facts.subject) == ("a", 1500, "eva")

    @pytest.mark.parametrize(
        ("body", "part"),
        [
            ('{"inputs":[[1,2,3]],"instances":[[1,2,3]]}', "exactly one of dataframe_split"),
            ('{"data":[[1,2,3]]}', "exactly one of dataframe_split"),
            ("[[1,2,3]]", "exactly one of dataframe_split"),
            ('{"inputs":[[1,2,3]],"params":7}', "'params' is 7"),
            ('{"inputs":[[1,2,3]],"params":{"timeout":"soon"}}', "timeout is 'soon'"),
            ('{"dataframe_split":[[1,2,3]]}', "'columns' and 'data'"),
            ('{"dataframe_split":{"columns":"f0","data":[[1]]}}', "'columns' and 'data'"),
            ('{"dataframe_split":{"columns":["f0","f1","f2"]}}', "'columns' and 'data'"),
            ('{"dataframe_split":{"columns":["f0"],"data":7}}', "one list a row"),
            ('{"dataframe_split":{"columns":["f0","f1","f9"],"data":[[1,2,3]]}}', "no feature 'f9'"),
            ('{"dataframe_records":{"f0":1}}', "one item a row"),
            ('{"inputs":[[1,2,Infinity]]}', "Infinity"),
            ('{"inputs":', "not JSON"),
        ],
    )
    def test_is_refused_where_it_does_not_fit(self, body: str, part: str) -> None:
        with pytest.raises(InvalidRequest, match=part):
            read(TABLE, body)


class TestCsv:
    def test_names_its_columns_in_any_order(self) -> None:
        assert values(TABLE, "f2,f0,f1\r\n3,1,2\r\n6,4,5.0\r\n\r\n") == {"X": [[1, 2, 3], [4, 5, 6]]}

    def test_is_read_as_each_feature_s_type(self) -> None:
        text = '\ufeffcarrier,amount\n"A, ""A""",1.5\n,NaN\n'

        found = values(BY_FEATURE, text)

        assert found["carrier"] == [['A, "A"'], [""]]
        assert found["amount"][0] == [1.5]
        assert math.isnan(found["amount"][1][0])
        assert values(one_input("BOOL"), "x\ntrue\nFalse\n") == {"x": [[True], [False]]}
        assert values(one_input("INT64"), "x\n-9223372036854775808\n") == {"x": [[-(2**63)]]}

    @pytest.mark.parametrize(
        ("signature", "body", "part"),
        [
            pytest.param(TABLE, b"", "empty", id="nothing"),
            pytest.param(TABLE, b"\n\n", "empty", id="no line"),
            pytest.param(TABLE, b"f0,f1,f2\n", "no rows", id="no rows"),
            pytest.param(TABLE, b"not json", "no rows", id="no CSV"),
            pytest.param(TABLE, b"f0,f1\n1,2\n", "'f2' is missing", id="column missing"),
            pytest.param(TABLE, b",f0,f1,f2\n0,1,2,3\n", "no feature ''", id="index"),
            pytest.param(TABLE, b"f0,f1,f2\n1,2\n", "has 2 values and its first line 3", id="short row"),
            pytest.param(TABLE, b"f0,f1,f2\n1,2,3\n1,2,3,4\n", "Row 1 of the CSV has 4", id="long row"),
            pytest.param(TABLE, b"f0,f1,f2\n1,2,x\n", "'f2' holds 'x'", id="text for a number"),
            pytest.param(TABLE, b"f0,f1,f2\n1,2,inf\n", "'f2' holds 'inf'", id="infinity"),
            pytest.param(TABLE, b"f0,f1,f2\n1,2,1e999\n", "finite", id="too large"),
            pytest.param(TABLE, b"f0,f1,f2\n1,2,1e39\n", "not a value of FP32", id="too large for FP32"),
            pytest.param(TABLE, b"f0,f1,f2\n1,2,1_0\n", "'1_0'", id="digits of Python"),
            pytest.param(TABLE, b'f0,f1,f2\n1,2,"3\n', "neither a JSON object nor CSV", id="open quote"),
            pytest.param(TABLE, b"f0,f1,f2\n1,2,\xff\n", "not UTF-8", id="no text"),
            pytest.param(TABLE, b"f0,f1,f2\n1,2,\x00\n", "NUL", id="NUL"),
            pytest.param(one_input("INT64"), b"x\n1.5\n", "'x' holds '1.5'", id="float for whole"),
            pytest.param(one_input("INT64"), b"x\nNaN\n", "no value for 'missing'", id="missing whole"),
            pytest.param(one_input("INT64"), b"x\n" + b"9" * 5000, "'x' holds", id="endless whole"),
            pytest.param(
                one_input("INT64"), b"x\n9223372036854775808\n", "not a value of INT64", id="too big"
            ),
            pytest.param(one_input("BOOL"), b"x\n1\n", "'x' holds '1'", id="number for truth"),
            pytest.param(one_input("BYTES"), b'x\n""\n', "names no token", id="missing text"),
        ],
    )
    def test_is_refused_where_it_does_not_fit(self, signature: Signature, body: bytes, part: str) -> None:
        with pytest.raises(InvalidRequest, match=part):
            read(signature, body)

    def test_has_not_too_many_rows(self) -> None:
        with pytest.raises(TooManyRows, match="at most 10000"):
            read(one_input("INT64"), b"x\n" + b"1\n" * (MAX_ROWS + 5))


class TestAnswers:
    @pytest.mark.parametrize(
        ("signature", "batch", "answer"),
        [
            (TABLE, SUMS, [6.0, None]),
            (
                CLASSES,
                COINS,
                [{"label": 1, "probabilities": [0.25, 0.75]}, {"label": 0, "probabilities": [None, None]}],
            ),
        ],
    )
    def test_hold_a_number_or_an_object_a_row(self, signature: Signature, batch: Any, answer: Any) -> None:
        codec = MLFLOW.compile("m", "1", signature)

        content = codec.encode(batch, 0, 2, codec.decode(b'{"inputs":[[1,2,3],[4,5,6]]}', {})).content

        assert json.loads(content, parse_constant=pytest.fail) == {"predictions": answer}

    @pytest.mark.parametrize(
        ("status", "code"), [(400, "BAD_REQUEST"), (504, "DEADLINE_EXCEEDED"), (418, "INTERNAL_ERROR")]
    )
    def test_write_errors_with_mlflow_s_codes(self, status: int, code: str) -> None:
        error = json.loads(MLFLOW.write_error(status, "No.").content)

        assert error == {"error_code": code, "message": "No."}


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"/invocations", ONLY_MODEL),
        (b"/invocations/m", Target("m")),
        (b"/invocations/", None),
        (b"/invocations/m/1", None),
        (b"/invocations/\xff", None),
    ],
)
def test_paths_name_a_model_or_none(path: bytes, target: Target | None) -> None:
    assert MLFLOW.takes(path)
    assert MLFLOW.parse_path(path) == target
    assert not MLFLOW.takes(b"/invocations2")
