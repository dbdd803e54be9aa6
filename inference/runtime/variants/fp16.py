"""Half numbers inside, FP32 at the doors: for accelerators that compute them, and half the size everywhere."""

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16

from inference.runtime.session import first_line
from inference.runtime.variants.base import DoesNotApply, Sample
from inference.runtime.variants.graph import check_weights


def convert_to_fp16(model: onnx.ModelProto, sample: Sample) -> onnx.ModelProto:
    """Store weights and compute in FP16; operators that have no FP16 kernel, such as trees, keep FP32."""
    check_weights(model)
    try:
        made: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
    except Exception as error:  # it raises whatever its helpers do, on graphs that it was not made for
        raise DoesNotApply(
            f"ONNX Runtime's converter cannot follow the graph: {first_line(error)}"
        ) from error
    return made
