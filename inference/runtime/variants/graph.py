"""What the builders share: the weights of a graph, its operators, and the frame that a variant is put back into."""

from collections import Counter

import numpy as np
import onnx

from inference.runtime.variants.base import DoesNotApply

STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
WEIGHTED = ("MatMul", "Gemm", "Conv", "ConvTranspose")
"""Operators that multiply what comes in by stored weights."""
_NAMED = 3


def stored_weights(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """List the FP32 weights of two dimensions or more that multiplying operators of the main graph take."""
    used = {name for node in model.graph.node if node.op_type in WEIGHTED for name in node.input}
    return [
        tensor
        for tensor in model.graph.initializer
        if tensor.name in used and tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1
    ]


def check_weights(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Return the stored weights; raises DoesNotApply where there are none."""
    weights = stored_weights(model)
    if not weights:
        raise DoesNotApply(
            f"No MatMul, Gemm or Conv of the graph holds FP32 weights; its work is {main_operators(model)}."
        )
    return weights


def main_operators(model: onnx.ModelProto) -> str:
    """Name the operators that the graph has most of."""
    counts = Counter(node.op_type for node in model.graph.node)
    named = ", ".join(name for name, _ in counts.most_common(_NAMED))
    return named + (" and others" if len(counts) > _NAMED else "")


def is_standard(model: onnx.ModelProto) -> bool:
    """Return whether every operator is one of ONNX itself, which any runtime knows and the intake takes."""
    return all(node.domain in STANDARD_DOMAINS for node in model.graph.node)


def replace_tensor(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    """Set other values of the same shape in a stored tensor."""
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def finish(made: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """Keep in a variant the original's inputs, outputs and description, and only the operator sets that it uses.

    ONNX Runtime writes what it inferred of the shapes, which would make another contract, and lists every operator
    set that it knows, those for training too.
    """
    for side in ("input", "output"):
        tensors = getattr(made.graph, side)
        del tensors[:]
        tensors.extend(getattr(original.graph, side))
    used = {"", *(node.domain for node in made.graph.node)}
    versions = {entry.domain: entry.version for entry in made.opset_import if entry.domain in used}
    del made.opset_import[:]
    made.opset_import.extend(onnx.helper.make_opsetid(*entry) for entry in versions.items())
    made.doc_string = original.doc_string
    del made.metadata_props[:]
    made.metadata_props.extend(original.metadata_props)
    return made
