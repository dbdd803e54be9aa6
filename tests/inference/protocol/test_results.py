"""Answers in V2 JSON."""

import json

import numpy as np

from inference.protocol.results import OutputTexts, ResultCodec
from inference.serving.plan import TensorSpec

SPECS = [
    TensorSpec("label", "INT64", [-1]),
    TensorSpec("p", "FP32", [-1, 2]),
    TensorSpec("text", "BYTES", [-1, 1]),
]
CODEC = ResultCodec('the "model"', "1", SPECS)
BATCH = [
    OutputTexts(np.array([1, 0, 1])),
    OutputTexts(np.array([[0.1, 0.9], [np.nan, np.inf], [0.3, 0.7]], np.float32)),
    OutputTexts(np.array([["a"], ['"b",c'], ["\u00e9"]], object)),
]


class TestResultCodec:
    def test_writes_flat_data_for_the_rows_of_one_request(self) -> None:
        answer = json.loads(CODEC.encode(BATCH, 0, 1, "my id", range(3)))

        assert answer == {
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
        answer = json.loads(CODEC.encode(BATCH, 1, 3, None, [2, 0]))

        assert "id" not in answer
        assert [output["data"] for output in answer["outputs"]] == [['"b",c', "\u00e9"], [0, 1]]
        assert [output["shape"] for output in answer["outputs"]] == [[2, 1], [2]]

    def test_writes_null_and_a_warning_for_values_that_are_not_finite(self) -> None:
        answer = json.loads(CODEC.encode(BATCH, 1, 2, None, range(3)))

        assert answer["outputs"][1]["data"] == [None, None]
        assert "not finite in p" in answer["parameters"]["driftline_warnings"]

    def test_warns_only_the_request_that_it_concerns(self) -> None:
        assert "parameters" not in json.loads(CODEC.encode(BATCH, 0, 1, None, range(3)))
