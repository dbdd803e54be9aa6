"""V2 requests with binary data, and the paths of the protocol."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.protocol.dialect import InferRequest, Target
from inference.protocol.v2.open_inference import OPEN_INFERENCE, OpenInferenceCodec, parse_model_path
from inference.protocol.v2.tensors import InvalidRequest
from inference.protocol.v2.v2_requests import AnswerForm
from tests.inference.onnx_models import classifier_signature, echoing_signature

TABLE = OPEN_INFERENCE.compile("table", "1", classifier_signature(3))
COLUMNS = OPEN_INFERENCE.compile("columns", "1", echoing_signature())
ROW = struct.pack("<3f", 1, 2.5, -3)


def tensor(name: str, datatype: str, shape: list[int], size: Any = None, **more: Any) -> dict[str, Any]:
    parameters = {} if size is None else {"parameters": {"binary_data_size": size}}
    return {"name": name, "shape": shape, "datatype": datatype, **parameters, **more}


def decode(codec: OpenInferenceCodec, inputs: list[Any], tail: bytes, **more: Any) -> InferRequest:
    document = json.dumps({"inputs": inputs, **more}).encode()
    return codec.decode(document + tail, {b"inference-header-content-length": b"%d" % len(document)})


def sentence_for(codec: OpenInferenceCodec, inputs: list[Any], tail: bytes) -> str:
    with pytest.raises(InvalidRequest) as caught:
        decode(codec, inputs, tail)
    return str(caught.value)


class TestBinaryInputs:
    def test_are_taken_as_they_are(self) -> None:
        request = decode(TABLE, [tensor("X", "FP32", [2, 3], 24)], ROW * 2, id="x")

        assert (request.rows, request.tensors, request.client_id) == (2, [ROW * 2], "x")
        assert request.answer_form is None

    def test_come_in_the_order_of_the_json(self) -> None:
        inputs = [tensor("carrier", "BYTES", [2, 1], 12), tensor("amount", "FP32", [2, 1], 8)]
        tail = b"\2\0\0\0AA\2\0\0\0UA" + struct.pack("<2f", 1, 2)

        assert decode(COLUMNS, inputs, tail).tensors == [struct.pack("<2f", 1, 2), ["AA", "UA"]]

    @pytest.mark.parametrize("key", ["data", "d\\u0061ta"])
    def test_stand_beside_json_however_that_is_written(self, key: str) -> None:
        inputs = [tensor("amount", "FP32", [1, 1], 4), tensor("carrier", "BYTES", [1, 1], KEY=["AA"])]
        document = json.dumps({"inputs": inputs}).replace("KEY", key).encode()
        headers = {b"inference-header-content-length": b"%d" % len(document)}

        request = COLUMNS.decode(document + struct.pack("<f", 7), headers)

        assert request.tensors == [struct.pack("<f", 7), ["AA"]]

    @pytest.mark.parametrize(
        ("size", "tail", "part"),
        [
            (12, ROW[:-1], "binary_data_size 12 and 11 bytes are left"),
            (12, ROW + b"x", "1 bytes at the end belong to no input"),
            (8, ROW, "has 8 bytes; 3 values of FP32 take 12"),
            (0, b"", "has 0 bytes"),
            (-12, ROW, "binary_data_size -12; send a whole number"),
            (12.0, ROW, "binary_data_size 12.0; send a whole number"),
            (True, ROW, "binary_data_size true; send a whole number"),
            ("12", ROW, "binary_data_size '12'; send a whole number"),
            (2**63, ROW, "binary_data_size 9223372036854775808 and 12 bytes are left"),
            (10**25, ROW, "12 bytes are left"),
            (None, ROW, "no list of data"),
        ],
    )
    def test_have_to_be_as_long_as_they_say(self, size: Any, tail: bytes, part: str) -> None:
        assert part in sentence_for(TABLE, [tensor("X", "FP32", [1, 3], size)], tail)

    @pytest.mark.parametrize("parameters", [False, 0, [], "text"])
    def test_have_an_object_as_their_parameters(self, parameters: object) -> None:
        given = tensor("X", "FP32", [1, 3], data=[1, 2, 3], parameters=parameters)

        assert "The parameters of input 'X' are" in sentence_for(TABLE, [given], b"")

    def test_have_to_be_as_many_as_the_model_takes(self) -> None:
        amount = tensor("amount", "FP32", [1, 1], 4)

        assert "'carrier' is missing" in sentence_for(COLUMNS, [amount], bytes(4))
        assert "'amount' comes twice" in sentence_for(COLUMNS, [amount, amount], bytes(8))

    def test_need_the_length_of_the_json(self) -> None:
        document = json.dumps({"inputs": [tensor("X", "FP32", [1, 3], 12)]}).encode()

        with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length"):
            TABLE.decode(document, {})
        with pytest.raises(InvalidRequest, match=r"not UTF-8|not JSON"):
            TABLE.decode(document + ROW, {})

    @pytest.mark.parametrize(
        "length", [b"-1", b"+3", b"1e2", b"", b" ", b"99999", b"9" * 30, b"10, 10", b"\xb2"]
    )
    def test_refuse_a_length_that_cannot_be(self, length: bytes) -> None:
        with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length is"):
            TABLE.decode(b"{}", {b"inference-header-content-length": length})

    @given(st.binary(max_size=80), st.integers(1, 99))
    def test_never_fail_otherwise_for_any_bytes(self, body: bytes, length: int) -> None:
        with pytest.raises(InvalidRequest):
            TABLE.decode(body, {b"inference-header-content-length": b"%d" % length})


class TestRawRequest:
    def decode(self, codec: OpenInferenceCodec, body: bytes) -> InferRequest:
        return codec.decode(body, {b"inference-header-content-length": b"0"})

    def test_is_the_data_of_the_only_input_and_answered_in_binary(self) -> None:
        request = self.decode(TABLE, ROW)

        assert (request.rows, request.tensors, list(request.outputs)) == (1, [ROW], [0, 1])
        assert request.answer_form == AnswerForm(binary=frozenset({0, 1}))

    def test_tells_its_rows_by_its_length(self) -> None:
        assert self.decode(TABLE, ROW * 3).rows == 3

    @pytest.mark.parametrize("body", [b"", ROW[:-1], ROW + b"x"])
    def test_has_to_hold_whole_rows(self, body: bytes) -> None:
        with pytest.raises(InvalidRequest, match=r"a row of 'X' takes 12\. Send whole rows"):
            self.decode(TABLE, body)

    def test_cannot_fill_two_inputs(self) -> None:
        with pytest.raises(InvalidRequest, match="The model has 2 inputs"):
            self.decode(COLUMNS, bytes(8))

    def test_is_one_text_without_its_length(self) -> None:
        columns = echoing_signature()
        del columns.inputs[0]
        codec = OPEN_INFERENCE.compile("texts", "1", columns)

        assert self.decode(codec, "Z\u00fcrich".encode()).tensors == [["Z\u00fcrich"]]
        for body, part in [(b"\xff", "not UTF-8"), (b"a\0", "NUL")]:
            with pytest.raises(InvalidRequest, match=part):
                self.decode(codec, body)


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "target"),
        [
            (b"/v2/models/m", Target("m")),
            (b"/v2/models/m/versions/7", Target("m", "7")),
            (b"/v2/models//versions/7", None),
            (b"/v2/models/m/versions/", None),
            (b"/v2/models/m/labels/x", None),
            (b"/v2/models/\xff", None),
        ],
    )
    def test_name_a_model_and_perhaps_a_version(self, path: bytes, target: Target | None) -> None:
        assert parse_model_path(path) == target
