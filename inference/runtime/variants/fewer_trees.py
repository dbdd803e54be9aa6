"""A tree ensemble cut to its first trees: of boosted trees the later ones matter least, of a forest's any."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from inference.runtime.session import OnnxSession, new_options
from inference.runtime.variants.base import Builder, DoesNotApply, Feed, Sample
from inference.runtime.variants.graph import main_operators

_LEAVES = {"TreeEnsembleClassifier": "class", "TreeEnsembleRegressor": "target"}
"""Operators of ai.onnx.ml, and how the attributes of their leaves begin."""
_MIN_ROUNDS = 2


def keep_trees(share: float) -> Builder:
    """Make a builder that keeps this share of the trees, in whole rounds of one tree a class.

    A boosted ensemble adds its trees up, a forest averages them by weights that were divided by their number: those
    have to grow when trees go. The file does not say which it is, so both are built, and the one that answers the
    sample nearer to the original is given.
    """

    def cut(model: onnx.ModelProto, sample: Sample) -> onnx.ModelProto:
        nodes = [node for node in model.graph.node if node.op_type in _LEAVES]
        if not nodes:
            raise DoesNotApply(f"The graph has no tree ensemble; its work is {main_operators(model)}.")
        before = model.SerializeToString()
        kept = [_cut(node, share) for node in nodes]
        added = model.SerializeToString()
        for node, part in zip(nodes, kept, strict=True):
            _scale_leaves(node, 1 / part)
        averaged = model.SerializeToString()
        return onnx.ModelProto.FromString(_nearer(before, added, averaged, sample.feed))

    return cut


def _cut(node: onnx.NodeProto, share: float) -> float:
    """Remove the last trees of one ensemble and return the share that is left."""
    prefix = _LEAVES[node.op_type]
    attributes = {attribute.name: attribute for attribute in node.attribute}
    try:
        trees = np.array(attributes["nodes_treeids"].ints)
        leaf_trees = np.array(attributes[f"{prefix}_treeids"].ints)
        outputs = np.array(attributes[f"{prefix}_ids"].ints)
    except KeyError as error:
        raise DoesNotApply(f"The tree ensemble has no attribute {error}.") from error
    order, size = np.unique(trees), _round_size(leaf_trees, outputs)
    rounds = len(order) // size
    if rounds < _MIN_ROUNDS:
        raise DoesNotApply(f"The ensemble has {rounds} round of {size} trees; there is nothing to cut.")
    kept = order[: max(1, round(rounds * share)) * size]
    for attribute in node.attribute:
        if attribute.name.startswith("nodes_"):
            _keep_items(attribute, np.isin(trees, kept))
        elif attribute.name.startswith(f"{prefix}_"):
            _keep_items(attribute, np.isin(leaf_trees, kept))
    return len(kept) / len(order)


def _round_size(leaf_trees: NDArray[Any], outputs: NDArray[Any]) -> int:
    """Count the trees of a round: where each tree serves one class, a tree a class belong together."""
    if leaf_trees.shape != outputs.shape:
        raise DoesNotApply("The tree ensemble's leaves have lists of unequal length.")
    pairs = np.unique(np.stack([leaf_trees, outputs]), axis=1)
    serves_one = np.unique(pairs[0]).size == pairs.shape[1]
    return int(np.unique(outputs).size) if serves_one else 1


def _keep_items(attribute: onnx.AttributeProto, chosen: NDArray[np.bool_]) -> None:
    """Keep the chosen items of an attribute that holds one a node or a leaf, as a list or as a tensor."""
    if attribute.HasField("t"):
        attribute.t.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(attribute.t)[chosen]))
        return
    for field in ("ints", "floats", "strings"):
        items: Any = getattr(attribute, field)
        if len(items) == len(chosen):
            kept = [item for item, is_kept in zip(items, chosen, strict=True) if is_kept]
            del items[:]
            items.extend(kept)


def _scale_leaves(node: onnx.NodeProto, factor: float) -> None:
    prefix = _LEAVES[node.op_type]
    for attribute in node.attribute:
        if attribute.name == f"{prefix}_weights":
            weights = (np.array(attribute.floats) * factor).tolist()
            del attribute.floats[:]
            attribute.floats.extend(weights)
        elif attribute.name == f"{prefix}_weights_as_tensor":
            weights = onnx.numpy_helper.to_array(attribute.t)
            attribute.t.CopyFrom(onnx.numpy_helper.from_array((weights * factor).astype(weights.dtype)))


def _nearer(original: bytes, first: bytes, second: bytes, feed: Feed) -> bytes:
    """Return the one of two models whose numbers are nearer to the original's."""
    wanted, *candidates = (_numbers(content, feed) for content in (original, first, second))
    distances = [float(np.abs(values - wanted).mean()) for values in candidates]
    return first if distances[0] <= distances[1] else second


def _numbers(content: bytes, feed: Feed) -> NDArray[np.float64]:
    session = OnnxSession(content, options=new_options())
    answers = session.run(feed, session.output_names)
    numbers = [np.asarray(values, np.float64).ravel() for values in answers if values.dtype.kind == "f"]
    return np.concatenate(numbers) if numbers else np.zeros(1)
