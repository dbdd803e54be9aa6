"""Whether a run's cost depends on the values of its input, not only on their number: such a run has no bound.

A node such as Expand takes the size of its output from another tensor. Where that tensor is made of the shapes of the
inputs, the cost grows with the rows, as usual. Where it is made of their values, one number in a request decides.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

_SIZES: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,), "BlackmanWindow": (0,), "CenterCropPad": (1,), "Col2Im": (1, 2), "ConstantOfShape": (0,),
    "DFT": (1,), "Expand": (1,), "HammingWindow": (0,), "HannWindow": (0,), "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4), "OneHot": (1,), "Pad": (1,), "Range": (0, 1, 2), "Resize": (1, 2, 3),
    "STFT": (1, 3), "Tile": (1,), "Upsample": (1,),
}  # fmt: skip
"""Operators whose output is as large as an input says, with the places of those inputs."""
_ALWAYS = frozenset({"ImageDecoder", "Loop", "NonMaxSuppression", "StringConcat"})
"""Operators that repeat, compare all with all, or double what they are given."""
_SHAPES = ("Shape", "Size")


def has_value_costs(graph: "GraphProto") -> bool:
    """Return whether one request's values may make a run of this graph cost far more than another's."""
    return _Walk().visit(graph, {tensor.name for tensor in graph.input} - _constants(graph))


def may_have_value_costs(ops: Iterable[str]) -> bool:
    """Return the same of a graph of which only the operators are known; too often rather than too seldom."""
    return not (_SIZES.keys() | _ALWAYS).isdisjoint(ops)


def _constants(graph: "GraphProto") -> set[str]:
    return {tensor.name for tensor in graph.initializer}


class _Walk:
    """Follows the values of the inputs through a graph, whose nodes come in the order in which they run."""

    def __init__(self) -> None:
        self._unsized: set[str] = set()  # tensors whose shape depends on values

    def visit(self, graph: "GraphProto", of_values: set[str]) -> bool:
        """Visit a graph whose tensors `of_values` depend on the values of a request."""
        of_values = set(of_values)
        return any(self._visit_node(node, of_values) for node in graph.node)

    def _visit_node(self, node: "NodeProto", of_values: set[str]) -> bool:
        """Return whether a node's cost depends on values; else add what it makes of them to `of_values`."""
        depends = [name in of_values for name in node.input]
        sizes = _SIZES.get(node.op_type, ())
        if node.op_type in _ALWAYS or any(depends[place] for place in sizes if place < len(depends)):
            return True
        bodies = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
        if any(self.visit(body, of_values | {tensor.name for tensor in body.input}) for body in bodies):
            return True
        is_unsized = any(name in self._unsized for name in node.input)
        if node.op_type in _SHAPES:
            if is_unsized:
                of_values.update(node.output)
            return False
        if bodies or any(depends):
            of_values.update(node.output)
        if is_unsized or bodies or (any(depends) and node.op_type in ("NonZero", "Compress", "Unique")):
            self._unsized.update(node.output)
        return False
