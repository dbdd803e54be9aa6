"""The graph as ONNX Runtime optimises it: constants folded, operators fused, what does nothing removed."""

import onnx
import onnxruntime as ort

from inference.runtime.session import first_line
from inference.runtime.variants.base import DoesNotApply, Sample
from inference.runtime.variants.graph import is_standard

_BASIC = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
_EXTENDED = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED


def optimise(model: onnx.ModelProto, sample: Sample) -> onnx.ModelProto:
    """Write the graph of the extended level, or of the basic one where that has operators of ONNX Runtime alone.

    A session fuses further when it loads, to what its machine can do, so nothing is lost by the basic level.
    """
    extended = optimise_graph(model, _EXTENDED)
    return extended if is_standard(extended) else optimise_graph(model, _BASIC)


def optimise_graph(model: onnx.ModelProto, level: ort.GraphOptimizationLevel = _BASIC) -> onnx.ModelProto:
    """Optimise to one of ONNX Runtime's levels, in memory; raises DoesNotApply where it cannot write the graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        compiler = ort.ModelCompiler(options, model.SerializeToString(), graph_optimization_level=level)
        return onnx.ModelProto.FromString(compiler.compile_to_bytes())
    except Exception as error:  # ONNX Runtime's own exceptions share no base class
        raise DoesNotApply(f"ONNX Runtime cannot write its optimised graph: {first_line(error)}") from error
