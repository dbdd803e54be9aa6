"""Small ONNX files that pass the intake and do great harm when one number in a request says so.

Each takes one whole number a row, `X`, and gives one float a row, `Y`.
"""

import time
from functools import cache

import msgspec
import numpy as np
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from inference.signatures import Feature, Signature, TensorSpec
from tests.inference.onnx_models import summing_signature

INPUT, OUTPUT, WIDE = "X", "Y", "Z"


def boxes_model() -> bytes:
    """Compare X equal boxes with each other: one kernel, quadratic in X, that looks at no time limit."""
    return _model(
        [
            helper.make_node("Concat", ["one", "size", "four"], ["box shape"], axis=0),
            helper.make_node("Concat", ["one", "one", "size"], ["score shape"], axis=0),
            helper.make_node("Expand", ["box", "box shape"], ["boxes"]),
            helper.make_node("Expand", ["score", "score shape"], ["scores"]),
            helper.make_node("NonMaxSuppression", ["boxes", "scores", "size", "overlap"], ["chosen"]),
            helper.make_node("Shape", ["chosen"], ["chosen shape"]),
            helper.make_node("ReduceMax", ["chosen shape"], ["count"], keepdims=0),
        ],
        box=np.array([[[0, 0, 1, 1]]], np.float32),
        score=np.array([[[0.5]]], np.float32),
        overlap=np.array([1.0], np.float32),
        four=np.array([4], np.int64),
    )


@cache
def boxes_that_take(seconds: float) -> int:
    """Count the boxes that keep this machine busy for about `seconds`."""
    boxes = 10_000
    session = onnxruntime.InferenceSession(boxes_model(), providers=["CPUExecutionProvider"])
    began = time.thread_time()  # whatever else the machine does
    session.run(None, {INPUT: np.array([[boxes]], np.int64)})
    return int(boxes * (seconds / (time.thread_time() - began)) ** 0.5)


def sequence_model() -> bytes:
    """Run an LSTM over X steps: one kernel, linear in X."""
    width = 8
    return _model(
        [
            helper.make_node("Concat", ["size", "one", "width"], ["sequence shape"], axis=0),
            helper.make_node("Expand", ["step", "sequence shape"], ["sequence"]),
            helper.make_node("LSTM", ["sequence", "W", "R"], ["", "last", ""], hidden_size=width),
            helper.make_node("Cast", ["last"], ["whole"], to=TensorProto.INT64),
            helper.make_node("ReduceMax", ["whole"], ["count"], keepdims=0),
        ],
        step=np.ones((1, 1, 1), np.float32),
        width=np.array([width], np.int64),
        W=np.full((1, 4 * width, width), 0.01, np.float32),
        R=np.full((1, 4 * width, width), 0.01, np.float32),
    )


def range_model() -> bytes:
    """List all numbers below X: memory that is linear in X."""
    return _model(
        [
            helper.make_node("Squeeze", ["size"], ["limit"]),
            helper.make_node("Range", ["zero", "limit", "step"], ["numbers"]),
            helper.make_node("ReduceSum", ["numbers"], ["count"], keepdims=0),
        ],
        zero=np.array(0, np.int64),
        step=np.array(1, np.int64),
    )


def strings_model() -> bytes:
    """Repeat a long text X times: memory that no arena of ONNX Runtime holds, linear in X."""
    return _model(
        [
            helper.make_node("Expand", ["text", "size"], ["texts"]),
            helper.make_node("Equal", ["texts", "other"], ["equal"]),
            helper.make_node("Cast", ["equal"], ["whole"], to=TensorProto.INT64),
            helper.make_node("ReduceSum", ["whole"], ["count"], keepdims=0),
        ],
        text=np.array(["x" * 4096], object),
        other=np.array(["y"], object),
    )


def large_answer_model() -> bytes:
    """Answer each row with X numbers beside one."""
    return _model(
        [
            helper.make_node("Shape", [INPUT], ["shape"]),
            helper.make_node("Slice", ["shape", "zero", "one"], ["rows"]),
            helper.make_node("Concat", ["rows", "size"], ["answer shape"], axis=0),
            helper.make_node("Expand", ["number", "answer shape"], [WIDE]),
            helper.make_node("Squeeze", ["one"], ["count"]),
        ],
        number=np.array([[1.5]], np.float32),
        zero=np.array([0], np.int64),
        wide=True,
    )


def attack_signature(*, wide: bool = False) -> Signature:
    """Describe what all of them take and give; `wide` adds the second output of `large_answer_model`."""
    return msgspec.structs.replace(
        summing_signature(1),
        features=[Feature(INPUT, "int")],
        inputs=[TensorSpec(INPUT, "INT64", [-1, 1])],
        outputs=[
            TensorSpec(OUTPUT, "FP32", [-1, 1]),
            *([TensorSpec(WIDE, "FP32", [-1, -1])] if wide else []),
        ],
        prediction_output=OUTPUT,
    )


def _model(nodes: list[NodeProto], *, wide: bool = False, **constants: np.ndarray) -> bytes:
    """Build a model around nodes that turn `size`, the largest X, into the scalar `count`."""
    first = helper.make_node("ReduceMax", [INPUT], ["largest"], keepdims=0)
    second = helper.make_node("Reshape", ["largest", "one"], ["size"])
    last = [
        helper.make_node("Mul", [INPUT, "none"], ["nothing"]),
        helper.make_node("Add", ["nothing", "count"], ["sum"]),
        helper.make_node("Cast", ["sum"], [OUTPUT], to=TensorProto.FLOAT),
    ]
    constants |= {"one": np.array([1], np.int64), "none": np.array([[0]], np.int64)}
    graph = helper.make_graph(
        [first, second, *nodes, *last],
        "attack",
        [helper.make_tensor_value_info(INPUT, TensorProto.INT64, [None, 1])],
        [
            helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1]),
            *([helper.make_tensor_value_info(WIDE, TensorProto.FLOAT, [None, None])] if wide else []),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9
    ).SerializeToString()
