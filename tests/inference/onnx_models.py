"""ONNX models that can be checked by eye."""

import hashlib
from pathlib import Path

import msgspec
import onnx
from onnx import TensorProto, helper

from inference.serving.plan import PlanVersion
from inference.signatures import Feature, Signature, TensorSpec


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


def linear_model(slope: float, intercept: float) -> bytes:
    """A regression of one feature, x, by these two numbers."""
    return _model(
        [
            helper.make_node("Mul", ["X", "slope"], ["product"]),
            helper.make_node("Add", ["product", "intercept"], ["y"]),
        ],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("slope", TensorProto.FLOAT, [1], [slope]),
            helper.make_tensor("intercept", TensorProto.FLOAT, [1], [intercept]),
        ],
    )


def linear_signature() -> Signature:
    """The linear model's signature."""
    return Signature(
        features=[Feature("x", "float")],
        inputs=[TensorSpec("X", "FP32", [-1, 1])],
        outputs=[TensorSpec("y", "FP32", [-1, 1])],
        prediction_output="y",
        probabilities_output=None,
        classes=[],
        positive_class=None,
        missing={},
        task="regression",
    )


def constant_number(number: float, features: int) -> bytes:
    """A regression that answers this number for any row; the summing model's signature is its own."""
    return _model(
        [
            helper.make_node("ReduceSum", ["X", "axes"], ["total"], keepdims=1),
            helper.make_node("Mul", ["total", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "number"], ["sum"]),
        ],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
            helper.make_tensor("number", TensorProto.FLOAT, [1], [number]),
        ],
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


def ranking_classifier(names: list[str], *, fails_above: float) -> bytes:
    """A classifier by one input a feature that ranks by the first, and gathers beyond an end where the second is larger
    than a number."""
    return _model(
        [
            helper.make_node("ReduceMax", [names[1]], ["largest"], keepdims=0),
            helper.make_node("Greater", ["largest", "limit"], ["is_too_large"]),
            helper.make_node("Cast", ["is_too_large"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["nothings", "place"], ["nothing"]),
            helper.make_node("Sum", names[1:], ["others"]),
            helper.make_node("Mul", ["others", "nothing"], ["no_others"]),
            helper.make_node("Mul", [names[0], "slope"], ["steep"]),
            helper.make_node("Add", ["steep", "no_others"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["positive"]),
            helper.make_node("Sub", ["one", "positive"], ["negative"]),
            helper.make_node("Concat", ["negative", "positive"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        [
            helper.make_tensor("limit", TensorProto.FLOAT, [], [fails_above]),
            helper.make_tensor("nothings", TensorProto.FLOAT, [1], [0.0]),
            helper.make_tensor("slope", TensorProto.FLOAT, [1], [4.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
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


def probability_model() -> bytes:
    """Answers x, one column, as the probability of the second of two classes."""
    return _model(
        [helper.make_node("Identity", ["X"], ["probability"])],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, None])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, None])],
        [],
    )


def probability_signature() -> Signature:
    """The probability model's signature, which leaves the width of both tensors open."""
    return Signature(
        features=[Feature("x", "float")],
        inputs=[TensorSpec("X", "FP32", [-1, -1])],
        outputs=[TensorSpec("probability", "FP32", [-1, -1])],
        prediction_output=None,
        probabilities_output="probability",
        classes=["idle", "busy"],
        positive_class="idle",
        missing={},
        task="binary",
    )


def image_model() -> bytes:
    """A regression that answers the sum of an image of 2 x 2."""
    return _model(
        [helper.make_node("ReduceSum", ["X", "axes"], ["y"], keepdims=0)],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )


def embedding_model() -> bytes:
    """A regression of images that answers the sum of their pixels, and the pixels as their embedding."""
    return _model(
        [
            helper.make_node("Flatten", ["X"], ["embedding"], axis=1),
            helper.make_node("ReduceSum", ["embedding", "axes"], ["sum"], keepdims=1),
        ],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3, 4, 4])],
        [
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [None, 48]),
        ],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )


def embedding_signature() -> Signature:
    """The embedding model's signature."""
    return msgspec.structs.replace(
        linear_signature(),
        features=[],
        inputs=[TensorSpec("X", "FP32", [-1, 3, 4, 4])],
        outputs=[TensorSpec("sum", "FP32", [-1, 1]), TensorSpec("embedding", "FP32", [-1, 48])],
        prediction_output="sum",
        embedding_output="embedding",
    )


def image_signature() -> Signature:
    """The image model's signature, which has no columns."""
    return msgspec.structs.replace(
        linear_signature(),
        features=[],
        inputs=[TensorSpec("X", "FP32", [-1, 2, 2])],
        outputs=[TensorSpec("y", "FP32", [-1])],
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


def swelling_model() -> bytes:
    """A regression that adds to each `size` as many ones as the largest of them says."""
    return _model(
        [
            helper.make_node("ReduceMax", ["size"], ["largest"], keepdims=0),
            helper.make_node("Reshape", ["largest", "one"], ["shape"]),
            helper.make_node(
                "ConstantOfShape",
                ["shape"],
                ["ones"],
                value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1]),
            ),
            helper.make_node("ReduceSum", ["ones"], ["total"], keepdims=0),
            helper.make_node("Cast", ["size"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["number", "total"], ["sum"]),
        ],
        [helper.make_tensor_value_info("size", TensorProto.INT64, [None, 1])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("one", TensorProto.INT64, [1], [1])],
    )


def swelling_signature() -> Signature:
    """The swelling model's signature."""
    return msgspec.structs.replace(
        summing_signature(1),
        features=[Feature("size", "int")],
        inputs=[TensorSpec("size", "INT64", [-1, 1])],
    )


ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}


def identity_model() -> bytes:
    """One input of each datatype, named in small letters, each answered as it came as `same_<name>`."""
    names = [datatype.lower() for datatype in ONNX_TYPES]
    return _model(
        [helper.make_node("Identity", [name], [f"same_{name}"]) for name in names],
        [helper.make_tensor_value_info(name.lower(), kind, [None, 1]) for name, kind in ONNX_TYPES.items()],
        [
            helper.make_tensor_value_info(f"same_{name.lower()}", kind, [None, 1])
            for name, kind in ONNX_TYPES.items()
        ],
        [],
    )


def identity_signature() -> Signature:
    """The identity model's signature."""
    kinds = {"BOOL": "bool", "BYTES": "string", "FP16": "float", "FP32": "float", "FP64": "float"}
    return Signature(
        features=[Feature(name.lower(), kinds.get(name, "int")) for name in ONNX_TYPES],
        inputs=[TensorSpec(name.lower(), name, [-1, 1]) for name in ONNX_TYPES],
        outputs=[TensorSpec(f"same_{name.lower()}", name, [-1, 1]) for name in ONNX_TYPES],
        prediction_output="same_fp64",
        probabilities_output=None,
        classes=[],
        positive_class=None,
        missing={},
        task="regression",
    )


def store(home: Path, model: bytes, signature: Signature, *, id: int, version: str) -> PlanVersion:
    """Write a model below `home` by its digest and describe it for a plan."""
    digest = hashlib.sha256(model).hexdigest()
    path = home / "artifacts" / f"{digest}.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model)
    return PlanVersion(id, version, digest, f"artifacts/{digest}.onnx", signature)


def looping_model(features: int) -> bytes:
    """A summing model that first counts to ten billion where a row's first value is negative."""
    counting = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["going_on"]),
            helper.make_node("Add", ["count", "one"], ["counted"]),
        ],
        "counting",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("count", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("counted", TensorProto.FLOAT, []),
        ],
    )
    return _model(
        [
            helper.make_node("ReduceSum", ["X", "axes"], ["plain"], keepdims=1),
            helper.make_node("ReduceMin", ["X"], ["least"], keepdims=0),
            helper.make_node("Less", ["least", "zero"], ["is_negative"]),
            helper.make_node("Loop", ["turns", "is_negative", "zero"], ["counted"], body=counting),
            helper.make_node("Mul", ["counted", "zero"], ["nothing"]),
            helper.make_node("Add", ["plain", "nothing"], ["sum"]),
        ],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
            helper.make_tensor("turns", TensorProto.INT64, [], [10**10]),
        ],
    )


def failing_model(features: int) -> bytes:
    """A summing model that cannot answer a row whose first value is negative: it gathers beyond an end."""
    return _model(
        [
            helper.make_node("ReduceSum", ["X", "axes"], ["plain"], keepdims=1),
            helper.make_node("ReduceMin", ["X"], ["least"], keepdims=0),
            helper.make_node("Less", ["least", "zero"], ["is_negative"]),
            helper.make_node("Cast", ["is_negative"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["nothings", "place"], ["nothing"]),
            helper.make_node("Add", ["plain", "nothing"], ["sum"]),
        ],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
            helper.make_tensor("nothings", TensorProto.FLOAT, [1], [0.0]),
        ],
    )


def root_model(features: int) -> bytes:
    """Answers the root of the row's sum, which is no number where the sum is negative."""
    return _model(
        [
            helper.make_node("ReduceSum", ["X", "axes"], ["plain"], keepdims=1),
            helper.make_node("Sqrt", ["plain"], ["sum"]),
        ],
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, features])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )


def _sized_model(nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto]) -> bytes:
    """A regression of one whole number `size` by nodes that turn `count`, its largest, into the number `work`."""
    return _model(
        [
            helper.make_node("ReduceMax", ["size"], ["largest"], keepdims=0),
            helper.make_node("Reshape", ["largest", "one"], ["count"]),
            *nodes,
            helper.make_node("Cast", ["size"], ["number"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["number", "work"], ["sum"]),
        ],
        [helper.make_tensor_value_info("size", TensorProto.INT64, [None, 1])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("one", TensorProto.INT64, [1], [1]), *constants],
    )


def quadratic_model() -> bytes:
    """Suppresses as many boxes as `size` says, each compared with all others in one kernel that nothing ends.

    Its signature is the swelling model's.
    """
    return _sized_model(
        [
            helper.make_node("Concat", ["one", "count", "four"], ["box_shape"], axis=0),
            helper.make_node(
                "ConstantOfShape",
                ["box_shape"],
                ["boxes"],
                value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.0]),
            ),
            helper.make_node("Concat", ["one", "one", "count"], ["score_shape"], axis=0),
            helper.make_node(
                "ConstantOfShape",
                ["score_shape"],
                ["scores"],
                value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0]),
            ),
            helper.make_node("NonMaxSuppression", ["boxes", "scores", "count"], ["kept"]),
            helper.make_node("Size", ["kept"], ["kept_size"]),
            helper.make_node("Cast", ["kept_size"], ["work"], to=TensorProto.FLOAT),
        ],
        [helper.make_tensor("four", TensorProto.INT64, [1], [4])],
    )


def wordy_model() -> bytes:
    """Repeats a text of a thousand letters as often as `size` says; its signature is the swelling model's."""
    return _sized_model(
        [
            helper.make_node("Expand", ["text", "count"], ["texts"]),
            helper.make_node("Size", ["texts"], ["text_count"]),
            helper.make_node("Cast", ["text_count"], ["work"], to=TensorProto.FLOAT),
        ],
        [helper.make_tensor("text", TensorProto.STRING, [1], [b"x" * 1000])],
    )
