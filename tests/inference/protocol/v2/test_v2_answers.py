"""V2 answers, in JSON and in binary."""

import json
from typing import Any

import msgspec
import numpy as np

from inference.protocol.dialect import HttpBody, InferRequest
from inference.protocol.results import BatchOutputs
from inference.protocol.v2.parameters import NO_FACTS
from inference.protocol.v2.v2_answers import AnswerCodec
from inference.protocol.v2.v2_requests import AnswerForm
from inference.signatures import TensorSpec
from tests.inference.onnx_models import classifier_signature

SPECS = [
    TensorSpec("label", "INT64", [-1]),
    TensorSpec("p", "FP32", [-1, 2]),
    TensorSpec("text", "BYTES", [-1, 1]),
]
SIGNATURE = msgspec.structs.replace(
    classifier_signature(3), outputs=SPECS, probabilities_output="p", classes=["no", "yes"]
)
CODEC = AnswerCodec('the "model"', "1", SIGNATURE)
BATCH = BatchOutputs(
    [
        np.array([1, 0, 1]),
        np.array([[0.1, 0.9], [np.nan, np.inf], [0.3, 0.7]], np.float32),
        np.array([["a"], ['"b",c'], ["\u00e9"]], object),
    ]
)


def answer(
    start: int,
    stop: int,
    asked: Any = range(3),
    client_id: str | None = None,
    form: AnswerForm | None = None,
) -> HttpBody:
    request = InferRequest(stop - start, [], client_id, asked, NO_FACTS, form)
    return CODEC.encode(BATCH, start, stop, request)


def document(body: HttpBody) -> Any:
    assert body.fields == b"content-type: application/json\r\n"
    return json.loads(body.content)


def parts(body: HttpBody) -> tuple[Any, bytes]:
    """Take an answer with binary data apart."""
    content_type, length, _ = body.fields.split(b"\r\n")
    assert content_type == b"content-type: application/octet-stream"
    size = int(length.removeprefix(b"inference-header-content-length: "))
    return json.loads(body.content[:size]), body.content[size:]


class TestJson:
    def test_is_flat_data_for_the_rows_of_one_request(self) -> None:
        assert document(answer(0, 1, client_id="my id")) == {
            "model_name": 'the "model"',
            "model_version": "1",
            "id": "my id",
            "outputs": [
                {"name": "label", "datatype": "INT64", "shape": [1], "data": [1]},
                {"name": "p", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 0.9]},
                {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]},
            ],
        }

    def test_cuts_several_rows_out_of_a_batch(self) -> None:
        found = document(answer(1, 3, asked=[2, 0]))

        assert "id" not in found
        assert [output["data"] for output in found["outputs"]] == [['"b",c', "\u00e9"], [0, 1]]
        assert [output["shape"] for output in found["outputs"]] == [[2, 1], [2]]

    def test_of_one_row_follows_the_shapes_of_its_batch(self) -> None:
        spec = TensorSpec("100%b", "FP32", [-1, -1])
        codec = AnswerCodec("50%d", "1%", msgspec.structs.replace(SIGNATURE, outputs=[SPECS[0], spec]))
        request = InferRequest(1, [], "a%b", range(2), NO_FACTS)

        for width in (2, 1):
            outputs = BatchOutputs([np.array([7, 8]), np.full((2, width), 0.5, np.float32)])
            assert document(codec.encode(outputs, 1, 2, request)) == {
                "model_name": "50%d",
                "model_version": "1%",
                "id": "a%b",
                "outputs": [
                    {"name": "label", "datatype": "INT64", "shape": [1], "data": [8]},
                    {"name": "100%b", "datatype": "FP32", "shape": [1, width], "data": [0.5] * width},
                ],
            }

    def test_has_null_and_a_warning_for_values_that_are_not_finite(self) -> None:
        found = document(answer(1, 2))

        assert found["outputs"][1]["data"] == [None, None]
        assert "not finite in p" in found["parameters"]["driftline_warnings"]

    def test_warns_only_the_request_that_it_concerns(self) -> None:
        assert "parameters" not in document(answer(0, 1))


class TestBinary:
    def test_follows_the_json_in_the_order_of_the_outputs(self) -> None:
        head, tail = parts(answer(1, 3, asked=[2, 0], form=AnswerForm(binary=frozenset({0, 2}))))

        text = b'\5\0\0\0"b",c\2\0\0\0\xc3\xa9'
        assert head["outputs"] == [
            {"name": "text", "datatype": "BYTES", "shape": [2, 1], "parameters": {"binary_data_size": 15}},
            {"name": "label", "datatype": "INT64", "shape": [2], "parameters": {"binary_data_size": 16}},
        ]
        assert tail == text + np.array([0, 1], "<i8").tobytes()

    def test_stands_beside_json(self) -> None:
        head, tail = parts(answer(0, 1, client_id="x", form=AnswerForm(binary=frozenset({1}))))

        label, probabilities, text = head["outputs"]
        assert (label["data"], text["data"], head["id"]) == ([1], ["a"], "x")
        assert probabilities["parameters"] == {"binary_data_size": 8}
        assert np.frombuffer(tail, "<f4").tolist() == BATCH.arrays[1][0].tolist()

    def test_keeps_values_that_are_not_finite_and_needs_no_warning(self) -> None:
        head, tail = parts(answer(1, 2, asked=[1], form=AnswerForm(binary=frozenset({1}))))

        assert "parameters" not in head
        assert str(np.frombuffer(tail, "<f4").tolist()) == "[nan, inf]"


class TestClassification:
    def test_names_the_highest_values_by_their_classes(self) -> None:
        found = document(answer(0, 3, asked=[1], form=AnswerForm(classes={1: 1})))

        assert found["outputs"] == [
            {
                "name": "p",
                "datatype": "BYTES",
                "shape": [3, 1],
                "data": ["0.900000:1:yes", "inf:1:yes", "0.700000:1:yes"],
            }
        ]

    def test_can_be_binary_too(self) -> None:
        form = AnswerForm(binary=frozenset({1}), classes={1: 9})

        head, tail = parts(answer(0, 1, asked=[1], form=form))

        assert head["outputs"][0]["shape"] == [1, 2]
        assert tail == b"\x0e\0\0\x000.900000:1:yes\x0d\0\0\x000.100000:0:no"
