"""What both kinds of INT8 share: a graph that the quantisers of ONNX Runtime take, and their failures as reasons.

Their functions `quantize_dynamic` and `quantize_static` go through temporary files, which the walls around a child
forbid; the classes behind them work in memory once a model says that its shapes are inferred.
"""

from typing import Any

import onnx
from onnxruntime.quantization.quant_utils import add_infer_metadata

from inference.runtime.session import first_line
from inference.runtime.variants.base import DoesNotApply
from inference.runtime.variants.graph import check_weights
from inference.runtime.variants.optimised import optimise_graph


def prepare(model: onnx.ModelProto, *, oldest_opset: int) -> onnx.ModelProto:
    """Optimise the graph and infer its shapes, as ONNX Runtime advises before it is quantised; raises DoesNotApply."""
    check_weights(model)
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < oldest_opset:
        raise DoesNotApply(
            f"The model uses opset {opset}; export it with opset {oldest_opset} or newer (target_opset)."
        )
    prepared = onnx.shape_inference.infer_shapes(optimise_graph(model))
    add_infer_metadata(prepared)
    return prepared


def quantise(quantiser: Any) -> onnx.ModelProto:
    """Run a quantiser of ONNX Runtime; raises DoesNotApply with what it found in the way."""
    try:
        quantiser.quantize_model()
    except Exception as error:  # it raises whatever its helpers do, on graphs that it was not made for
        raise DoesNotApply(
            f"ONNX Runtime's quantiser cannot follow the graph: {first_line(error)}"
        ) from error
    made: onnx.ModelProto = quantiser.model.model
    if not any("Quantize" in node.op_type for node in made.graph.node):
        raise DoesNotApply("ONNX Runtime's quantiser found nothing to quantise in the graph.")
    return made
