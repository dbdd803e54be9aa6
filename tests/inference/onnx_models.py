"""ONNX models that can be checked by eye."""

import hashlib
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from inference.serving.plan import Feature, PlanVersion, Signature, TensorSpec


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
) -> bytes:
    graph = helper.make_graph(nodes, "by_eye", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


def summing_model(features: int) -> bytes:
    """A regression that answers the sum of its row."""
    return _model(
        [helper.make_node("ReduceSum", ["X", "axes"], ["sum"], keepdims=1)],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )


def summing_signature(features: int) -> Signature:
    """The summing model's signature; features f0, f1, ..."""
    return Signature(
        features=[Feature(f"f{place}", "float") for place in range(features)],
        inputs=[TensorSpec("X", "FP32", [-1, features])],
        outputs=[TensorSpec("sum", "FP32", [-1, 1])],
        prediction_output="sum",
        probabilities_output=None,
        classes=[],
        positive_class=None,
        missing={},
        task="regression",
    )


def constant_classifier(probability: float, features: int, slowness: int = 0) -> bytes:
    """A binary classifier that answers class 1 with this probability for any row.

    `slowness` is the number of times that it multiplies two 512 x 512 matrices first.
    """
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("p", TensorProto.FLOAT, [2], [1 - probability, probability]),
    ]
    nodes = [
        helper.make_node("ReduceSum", ["X", "axes"], ["total"], keepdims=1),
        helper.make_node("Mul", ["total", "zero"], ["nothing"]),
    ]
    source = "nothing"
    if slowness:
        constants.append(helper.make_tensor("big", TensorProto.FLOAT, [512, 512], [0.0] * (512 * 512)))
        nodes.append(helper.make_node("ReduceMax", ["nothing"], ["work0"], keepdims=1))
        nodes.append(helper.make_node("Add", ["big", "work0"], ["chain0"]))
        for step in range(slowness):
            nodes.append(helper.make_node("MatMul", [f"chain{step}", "big"], [f"chain{step + 1}"]))
        nodes.append(helper.make_node("ReduceMax", [f"chain{slowness}"], ["idle"], keepdims=1))
        nodes.append(helper.make_node("Add", ["nothing", "idle"], ["slowly"]))
        source = "slowly"
    nodes += [
        helper.make_node("Add", [source, "p"], ["probabilities"]),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    return _model(
        nodes,
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, features])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        constants,
    )


def constant_classifier_by_feature(probability: float, names: list[str]) -> bytes:
    """The constant classifier with one input a feature, the layout in which a retrained model comes."""
    return _model(
        [
            helper.make_node("Sum", names, ["total"]),
            helper.make_node("Mul", ["total", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "p"], ["probabilities"]),
            helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        [
            helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
            helper.make_tensor("p", TensorProto.FLOAT, [2], [1 - probability, probability]),
        ],
    )


def classifier_signature(features: int) -> Signature:
    """The constant classifier's signature."""
    return Signature(
        features=[Feature(f"f{place}", "float") for place in range(features)],
        inputs=[TensorSpec("X", "FP32", [-1, features])],
        outputs=[TensorSpec("label", "INT64", [-1]), TensorSpec("probabilities", "FP32", [-1, 2])],
        prediction_output="label",
        probabilities_output="probabilities",
        classes=["0", "1"],
        positive_class="1",
        missing={},
        task="binary",
    )


def echoing_model() -> bytes:
    """Two inputs, one a feature: answers the amount as it came, and the carrier's text as the class."""
    return _model(
        [
            helper.make_node("Identity", ["amount"], ["number"]),
            helper.make_node("Identity", ["carrier"], ["text"]),
        ],
        [
            helper.make_tensor_value_info("amount", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("carrier", TensorProto.STRING, [None, 1]),
        ],
        [
            helper.make_tensor_value_info("number", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("text", TensorProto.STRING, [None, 1]),
        ],
        [],
    )


def echoing_signature() -> Signature:
    """The echoing model's signature: "" stands for a missing carrier."""
    return Signature(
        features=[Feature("amount", "float"), Feature("carrier", "string")],
        inputs=[TensorSpec("amount", "FP32", [-1, 1]), TensorSpec("carrier", "BYTES", [-1, 1])],
        outputs=[TensorSpec("number", "FP32", [-1, 1]), TensorSpec("text", "BYTES", [-1, 1])],
        prediction_output="text",
        probabilities_output=None,
        classes=["AA", "UA", ""],
        positive_class=None,
        missing={"carrier": ""},
        task="multiclass",
    )


def store(home: Path, model: bytes, signature: Signature, *, id: int, version: str) -> PlanVersion:
    """Write a model below `home` by its digest and describe it for a plan."""
    digest = hashlib.sha256(model).hexdigest()
    path = home / "artifacts" / f"{digest}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model)
    return PlanVersion(id, version, digest, f"artifacts/{digest}.onnx", signature)
