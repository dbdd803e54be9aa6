"""Loading and running ONNX models."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from inference.runtime.session import ModelRefused, OnnxSession, load_session
from tests.inference.onnx_models import summing_model


def averaging_over_rows() -> bytes:
    """A model that gives one row whatever it takes."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["X"], ["mean"], axes=[0], keepdims=1)],
        "mean",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


class TestLoadSession:
    def test_loads_the_bytes_that_were_registered(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(summing_model(3))

        session = load_session(path, hashlib.sha256(summing_model(3)).hexdigest())

        [total] = session.run({"X": np.array([[1, 2, 3]], np.float32)}, ["sum"])
        assert total.tolist() == [[6.0]]

    def test_refuses_other_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(summing_model(3))

        with pytest.raises(ModelRefused, match="and not 0000, which was registered"):
            load_session(path, "0000")

    def test_refuses_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ModelRefused, match="cannot be read: No such file"):
            load_session(tmp_path / "model.onnx", "0000")

    def test_refuses_what_is_no_model(self) -> None:
        with pytest.raises(ModelRefused, match="cannot load the model"):
            OnnxSession(b"not a model")


class TestWarm:
    def test_measures_a_run_of_one_row(self) -> None:
        seconds = OnnxSession(summing_model(3)).warm({"X": np.zeros((1, 3), np.float32)}, ["sum"])

        assert seconds > 0

    def test_refuses_a_model_that_does_not_answer_row_by_row(self) -> None:
        with pytest.raises(ModelRefused, match=r"shape \[1, 3\] for 32 rows"):
            OnnxSession(averaging_over_rows()).warm({"X": np.zeros((1, 3), np.float32)}, ["mean"])

    def test_is_undecided_where_the_invented_row_does_not_fit(self) -> None:
        assert OnnxSession(summing_model(3)).warm({"X": np.zeros((1, 4), np.float32)}, ["sum"]) == float(
            "inf"
        )
