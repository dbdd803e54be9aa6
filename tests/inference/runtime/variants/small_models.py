"""Small models of each kind with rows that they can be asked."""

import warnings
from functools import cache

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from inference.runtime.variants.base import Sample

type Floats = NDArray[np.float32]

FEATURES = 6


@cache
def table(rows: int = 400, classes: int = 2) -> tuple[Floats, NDArray[np.int64]]:
    """Rows of six numbers, and a class that the first two decide."""
    chance = np.random.default_rng(0)
    values = chance.normal(size=(rows, FEATURES)).astype(np.float32)
    score = values[:, 0] + values[:, 1] ** 2
    return values, np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]))


@cache
def network() -> bytes:
    """A perceptron of two hidden layers, as scikit-learn's converter writes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it need not be a good one
        fitted = MLPClassifier((32, 16), max_iter=60, random_state=0).fit(*table())
    return _converted(fitted)


@cache
def forest(trees: int = 12) -> bytes:
    """A forest of three classes, whose trees are averaged."""
    return _converted(RandomForestClassifier(trees, max_depth=5, random_state=0).fit(*table(classes=3)))


@cache
def boosted(trees: int = 12) -> bytes:
    """Boosted trees of three classes, a tree a class in each round, which are added up."""
    return _converted(
        GradientBoostingClassifier(n_estimators=trees, max_depth=2, random_state=0).fit(*table(classes=3))
    )


def _converted(fitted: object) -> bytes:
    content: bytes = to_onnx(fitted, table()[0][:1], options={"zipmap": False}).SerializeToString()
    return content


def convolutions(opset: int = 17) -> bytes:
    """Two convolutions over pictures of 8 x 8 and a dense head for three classes, with weights of chance."""
    chance = np.random.default_rng(0)
    shapes = {"w1": (8, 1, 3, 3), "b1": (8,), "w2": (16, 8, 3, 3), "b2": (16,), "w3": (64, 3), "b3": (3,)}
    weights = [
        numpy_helper.from_array((chance.normal(size=shape) * 0.3).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["X", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], **pool),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p2"], **pool),
        helper.make_node("Flatten", ["p2"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 1, 8, 8])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3]),
        ],
        weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    content: bytes = made.SerializeToString()
    return content


def wide_layer(width: int) -> bytes:
    """One dense layer with weights of chance: most of the file are weights."""
    weights = np.random.default_rng(0).normal(size=(width, width)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "weights"], ["sums"]), helper.make_node("Relu", ["sums"], ["Y"])],
        "wide layer",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, width])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, width])],
        [numpy_helper.from_array(weights, "weights")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    content: bytes = made.SerializeToString()
    return content


def pictures(rows: int = 100) -> Floats:
    return np.random.default_rng(1).normal(size=(rows, 1, 8, 8)).astype(np.float32)


def stumps(leaves: list[float]) -> bytes:
    """Add up trees of one question each: `leaf` where X is above 0, else its negative."""
    trees = len(leaves)
    nodes = {
        "nodes_treeids": [tree for tree in range(trees) for _ in range(3)],
        "nodes_nodeids": [0, 1, 2] * trees,
        "nodes_featureids": [0] * 3 * trees,
        "nodes_values": [0.0] * 3 * trees,
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"] * trees,
        "nodes_truenodeids": [1, 0, 0] * trees,
        "nodes_falsenodeids": [2, 0, 0] * trees,
        "target_treeids": [tree for tree in range(trees) for _ in range(2)],
        "target_nodeids": [1, 2] * trees,
        "target_ids": [0, 0] * trees,
        "target_weights": [sign * leaf for leaf in leaves for sign in (-1.0, 1.0)],
    }
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["X"],
        ["sum"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        **nodes,
    )
    graph = helper.make_graph(
        [node],
        "stumps",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])],
    )
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    )
    made.ir_version = 8
    content: bytes = made.SerializeToString()
    return content


def real(rows: Floats) -> Sample:
    return Sample({"X": rows}, is_made_up=False)


def trees_of(content: bytes) -> int:
    """Count the trees of a model's one ensemble."""
    [node] = [node for node in onnx.load_from_string(content).graph.node if "Tree" in node.op_type]
    return len({tree for one in node.attribute if one.name == "nodes_treeids" for tree in one.ints})
