"""V2 requests in JSON: what is understood, and what is refused with which sentence."""

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.protocol.v2.tensors import InvalidRequest
from inference.protocol.v2.v2_requests import AnswerForm, RequestCodec
from inference.signatures import Feature, Signature, TensorSpec
from tests.inference.onnx_models import classifier_signature, echoing_signature

TABLE = RequestCodec(classifier_signature(3))
COLUMNS = RequestCodec(echoing_signature())


def table_request(data: Any, shape: list[int] | None = None, **more: Any) -> bytes:
    tensor = {"name": "X", "shape": shape or [1, 3], "datatype": "FP32", "data": data}
    return json.dumps({"inputs": [tensor], **more}).encode()


def column_request(amount: Any, carrier: Any, rows: int = 1) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "amount", "shape": [rows, 1], "datatype": "FP32", "data": amount},
            {"name": "carrier", "shape": [rows, 1], "datatype": "BYTES", "data": carrier},
        ]
    }


def only_input(datatype: str) -> RequestCodec:
    feature = {"BYTES": "string", "BOOL": "bool"}.get(
        datatype, "float" if datatype.startswith("F") else "int"
    )
    return RequestCodec(
        Signature(
            features=[Feature("x", feature)],
            inputs=[TensorSpec("x", datatype, [-1, 1])],
            outputs=[TensorSpec("y", "FP32", [-1, 1])],
            prediction_output="y",
            probabilities_output=None,
            classes=[],
            positive_class=None,
            missing={},
            task="regression",
        )
    )


def rows_of(codec: RequestCodec, body: bytes) -> list[list[float]]:
    request = codec.decode(body)
    joined = codec.tensors[0].join([request.tensors[0]])
    return joined.tolist()


def sentence_for(codec: RequestCodec, body: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        codec.decode(body)
    return str(caught.value)


class TestDecode:
    @pytest.mark.parametrize(
        ("data", "shape"),
        [
            ([1, 2.5, -3], [1, 3]),
            ([[1, 2.5, -3]], [1, 3]),
            ([1, 2, 3, 4, 5, 6], [2, 3]),
            ([[1, 2, 3], [4, 5, 6]], [2, 3]),
        ],
    )
    def test_takes_flat_and_nested_data(self, data: Any, shape: list[int]) -> None:
        rows = rows_of(TABLE, table_request(data, shape))

        assert rows == np.array(data, np.float32).reshape(shape).tolist()

    @given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=6, max_size=6))
    def test_keeps_every_float32(self, values: list[float]) -> None:
        assert rows_of(TABLE, table_request(values, [2, 3])) == [values[:3], values[3:]]

    def test_reads_null_in_a_float_tensor_as_nan(self) -> None:
        [row] = rows_of(TABLE, table_request([1, None, 3]))

        assert row[0] == 1
        assert math.isnan(row[1])

    def test_keeps_the_id_and_its_absence(self) -> None:
        assert TABLE.decode(table_request([1, 2, 3], id="a:b")).client_id == "a:b"
        assert TABLE.decode(table_request([1, 2, 3])).client_id is None

    def test_reads_one_input_a_feature_in_any_order(self) -> None:
        request = column_request([1.5, 2.5], ["AA", "UA"], rows=2)
        request["inputs"].reverse()

        decoded = COLUMNS.decode(json.dumps(request).encode())

        assert decoded.tensors == [struct.pack("<2f", 1.5, 2.5), ["AA", "UA"]]

    def test_reads_escaped_and_colon_bearing_texts(self) -> None:
        decoded = COLUMNS.decode(json.dumps(column_request([1], ['\u00e9:\n"x"'])).encode())

        assert decoded.tensors[1] == ['\u00e9:\n"x"']

    def test_replaces_a_missing_text_by_its_token(self) -> None:
        assert COLUMNS.decode(json.dumps(column_request([1], [None])).encode()).tensors[1] == [""]

    @pytest.mark.parametrize(
        ("datatype", "value", "packed"),
        [
            ("BOOL", True, b"\x01"),
            ("INT8", -1, b"\xff"),
            ("INT32", -2, struct.pack("<i", -2)),
            ("INT64", 2**63 - 1, struct.pack("<q", 2**63 - 1)),
            ("UINT64", 2**64 - 1, struct.pack("<Q", 2**64 - 1)),
            ("FP64", 0.1, struct.pack("<d", 0.1)),
            ("FP64", 3, struct.pack("<d", 3.0)),
            ("FP16", 0.5, struct.pack("<e", 0.5)),
            ("UINT8", 255, b"\xff"),
            ("INT16", -2, struct.pack("<h", -2)),
            ("UINT16", 65535, struct.pack("<H", 65535)),
            ("UINT32", 2**32 - 1, struct.pack("<I", 2**32 - 1)),
        ],
    )
    def test_packs_each_datatype(self, datatype: str, value: Any, packed: bytes) -> None:
        tensor = {"name": "x", "shape": [1, 1], "datatype": datatype, "data": [value]}

        assert only_input(datatype).decode(json.dumps({"inputs": [tensor]}).encode()).tensors == [packed]

    def test_gives_the_outputs_asked_for_in_their_order(self) -> None:
        body = table_request([1, 2, 3], outputs=[{"name": "probabilities"}, {"name": "label"}])

        assert list(TABLE.decode(body).outputs) == [1, 0]
        assert list(TABLE.decode(table_request([1, 2, 3])).outputs) == [0, 1]

    def test_remembers_which_outputs_are_wanted_in_another_form(self) -> None:
        label = {"name": "label", "parameters": {"binary_data": True}}
        likeliest = {"name": "probabilities", "parameters": {"classification": 2}}

        assert TABLE.decode(table_request([1, 2, 3], outputs=[label, likeliest])).answer_form == AnswerForm(
            binary=frozenset({0}), classes={1: 2}
        )
        assert TABLE.decode(table_request([1, 2, 3], outputs=[{"name": "label"}])).answer_form is None

    def test_lets_an_output_differ_from_what_is_wanted_of_all(self) -> None:
        text = {"name": "label", "parameters": {"binary_data": False}}
        all_binary = {"binary_data_output": True}

        some = TABLE.decode(
            table_request([1, 2, 3], outputs=[text, {"name": "probabilities"}], parameters=all_binary)
        )
        every = TABLE.decode(table_request([1, 2, 3], parameters=all_binary))

        assert some.answer_form == AnswerForm(binary=frozenset({1}))
        assert every.answer_form == AnswerForm(binary=frozenset({0, 1}))

    def test_leaves_unknown_keys_and_others_parameters_alone(self) -> None:
        body = table_request([1, 2, 3], model_name="m", parameters={"sequence_id": 1, "sequence_start": True})

        assert TABLE.decode(body).rows == 1


class TestRefusal:
    @pytest.mark.parametrize(
        ("body", "part"),
        [
            (b"", "not JSON"),
            (b"null", "not a JSON object"),
            (b"[]", "not a JSON object"),
            (b'{"inputs":[', "not JSON"),
            (b'{"inputs":[]} x', "not JSON"),
            (b'\xef\xbb\xbf{"inputs":[]}', "not JSON"),
            (b'{"inputs":[],"id":"\xff"}', "not UTF-8 at byte 19"),
            (b"{}", "no 'inputs'"),
            (b'{"inputs":{}}', "no 'inputs'"),
            (b'{"inputs":[7]}', "Each input is an object"),
            (b"[" * 100_000, "deeper than 32"),
            (b'{"inputs":' + b"[" * 1000 + b"]" * 1000 + b"}", "deeper than 32"),
            (b'{"inputs":[],"inputs":[]}', "'inputs' comes twice"),
        ],
    )
    def test_says_what_is_wrong_with_a_body(self, body: bytes, part: str) -> None:
        assert part in sentence_for(TABLE, body)

    @pytest.mark.parametrize(
        ("data", "part"),
        [
            ("NaN, 2, 3", "NaN is no JSON number"),
            ("Infinity, 2, 3", "Infinity is no JSON number"),
            ("1e999, 2, 3", "too large for a float"),
            ("1e39, 2, 3", "not a value of FP32"),
            ("9" * 5000 + ", 2, 3", "more than 64 bits"),
            ("true, 2, 3", "holds true at place 0"),
            ('"1", 2, 3', "holds '1' at place 0"),
            ("1, 2", "2 values and its shape asks for 3"),
            ("1, 2, 3, 4", "4 values and its shape asks for 3"),
            ("[1, 2, 3], [4]", "unequal length"),
            ("[1, 2], [3]", "unequal length"),
            ("[[1, 2, 3]]", "unequal length"),
            ("[1, 2, [3]]", "at place 2"),
            ("1, [2], 3", "at place 1"),
            ("{}, 2, 3", "at place 0"),
            ("", "0 values"),
        ],
    )
    def test_says_what_is_wrong_with_the_data(self, data: str, part: str) -> None:
        body = f'{{"inputs":[{{"name":"X","shape":[1,3],"datatype":"FP32","data":[{data}]}}]}}'

        assert part in sentence_for(TABLE, body.encode())

    @pytest.mark.parametrize(
        ("change", "part"),
        [
            ({"shape": [1, 4]}, "has the shape [1, 4]; the model takes [rows, 3]"),
            ({"shape": [3]}, "the model takes [rows, 3]"),
            ({"shape": [1, 3, 1]}, "the model takes [rows, 3]"),
            ({"shape": [0, 3], "data": []}, "0 rows"),
            ({"shape": [-1, 3]}, "-1 rows"),
            ({"shape": [10**6, 3]}, "at most 10000"),
            ({"shape": [1.0, 3]}, "no shape of whole numbers"),
            ({"shape": "1,3"}, "no shape of whole numbers"),
            ({"shape": None}, "no shape of whole numbers"),
            ({"datatype": "FP64"}, "has datatype 'FP64'; the model takes FP32"),
            ({"datatype": "BF16"}, "has datatype 'BF16'; the model takes FP32"),
            ({"datatype": None}, "has datatype null"),
            ({"name": "Y"}, "no input 'Y'; its inputs are 'X'"),
            ({"name": None}, "Each input is an object"),
            ({"parameters": {"binary_data_size": 12}}, "has both 'data' and a binary_data_size"),
            ({"data": "1,2,3"}, "no list of data"),
            ({"data": None}, "no list of data"),
        ],
    )
    def test_says_what_is_wrong_with_a_tensor(self, change: dict[str, Any], part: str) -> None:
        tensor = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3], **change}

        assert part in sentence_for(TABLE, json.dumps({"inputs": [tensor]}).encode())

    def test_refuses_an_input_that_is_missing_or_comes_twice(self) -> None:
        request = column_request([1], ["AA"])
        alone = {"inputs": request["inputs"][:1]}
        twice = {"inputs": [*request["inputs"], request["inputs"][0]]}

        assert "Input 'carrier' is missing" in sentence_for(COLUMNS, json.dumps(alone).encode())
        assert "'amount' comes twice" in sentence_for(COLUMNS, json.dumps(twice).encode())

    def test_refuses_inputs_with_different_numbers_of_rows(self) -> None:
        request = column_request([1, 2], ["AA", "UA"], rows=2)
        request["inputs"][1].update(shape=[1, 1], data=["AA"])

        assert "Input 'carrier' has 1 rows and others have 2" in sentence_for(
            COLUMNS, json.dumps(request).encode()
        )

    @pytest.mark.parametrize(
        ("text", "part"), [("\\u0000", "NUL"), ("\\ud800", "surrogate"), ("a\\udfffb", "surrogate")]
    )
    def test_refuses_texts_that_no_database_keeps(self, text: str, part: str) -> None:
        body = json.dumps(column_request([1], ["TEXT"])).replace("TEXT", text)

        assert part in sentence_for(COLUMNS, body.encode())

    def test_refuses_null_among_texts_without_a_token(self) -> None:
        body = b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"BYTES","data":[null]}]}'

        assert "names no token for a missing one" in sentence_for(only_input("BYTES"), body)

    @pytest.mark.parametrize(
        ("datatype", "data"),
        [
            ("INT64", "1.0"),
            ("INT64", "true"),
            ("INT8", "200"),
            ("UINT8", "-1"),
            ("BOOL", "1"),
            ("FP16", "65520.0"),
            ("UINT64", "18446744073709551616"),
            ("INT64", "null"),
        ],
    )
    def test_refuses_values_of_another_type(self, datatype: str, data: str) -> None:
        body = f'{{"inputs":[{{"name":"x","shape":[1,1],"datatype":"{datatype}","data":[{data}]}}]}}'

        assert f"Input 'x' holds {data.replace('null', 'null')} at place 0" in sentence_for(
            only_input(datatype), body.encode()
        )

    def test_refuses_true_among_numbers_of_a_mixed_signature(self) -> None:
        assert "holds true" in sentence_for(COLUMNS, json.dumps(column_request([True], ["AA"])).encode())

    @pytest.mark.parametrize("client_id", [7, "x" * 201, "a\u202eb", "line\nbreak"])
    def test_refuses_an_id_that_cannot_be_kept(self, client_id: Any) -> None:
        assert "printable" in sentence_for(TABLE, table_request([1, 2, 3], id=client_id))

    @pytest.mark.parametrize(
        ("outputs", "part"),
        [
            ([{"name": "nothing"}], "no output 'nothing'"),
            ([{"name": "label"}, {"name": "label"}], "asked for twice"),
            ([{}], "'outputs' is not a list of objects with a name"),
            ("label", "'outputs' is not a list of objects with a name"),
            ([{"name": "label", "parameters": {"binary_data": 1}}], "binary_data is 1; send true or false"),
            ([{"name": "label", "parameters": {"classification": 0}}], "asked for 0 classes"),
            ([{"name": "label", "parameters": {"classification": True}}], "asked for true classes"),
        ],
    )
    def test_refuses_outputs_that_it_does_not_have(self, outputs: Any, part: str) -> None:
        assert part in sentence_for(TABLE, table_request([1, 2, 3], outputs=outputs))

    @pytest.mark.parametrize(
        "twice",
        [
            b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,3],"data":[4,5,6]}]}',
            b'{"id":"a","id":"b","inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}',
            b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],"parameters":{"a":1,"a":2}}',
            b'{"inputs":[{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,3],"d\\u0061ta":[4,5,6]}]}',
        ],
    )
    def test_refuses_a_key_that_comes_twice_wherever_it_is(self, twice: bytes) -> None:
        assert "comes twice" in sentence_for(TABLE, twice)

    @given(st.binary(max_size=200))
    def test_never_fails_otherwise_for_any_bytes(self, body: bytes) -> None:
        with pytest.raises(InvalidRequest):
            TABLE.decode(body)
