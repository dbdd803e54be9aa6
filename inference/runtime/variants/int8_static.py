"""INT8 weights and activations, with ranges that rows of the reference showed."""

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization.calibrate import TensorData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantType

from inference.runtime.session import Array, OnnxSession, new_options
from inference.runtime.variants.base import DoesNotApply, Feed, Sample
from inference.runtime.variants.quantising import prepare, quantise

_OPERATORS = [
    "MatMul",
    "Gemm",
    "Conv",
    "Relu",
    "Clip",
    "MaxPool",
    "AveragePool",
    "Add",
    "Reshape",
    "Transpose",
]
"""Those that multiply, and what stands between them: Softmax and the like keep their precision."""
_BATCH = 64


def quantise_statically(model: onnx.ModelProto, sample: Sample) -> onnx.ModelProto:
    """Quantise weights (a scale each channel) and activations to 8 bits, as QuantizeLinear and DequantizeLinear.

    The ranges are the least and the greatest value of each tensor on the sample's rows; needs opset 13.
    """
    prepared = prepare(model, oldest_opset=13)
    if sample.is_made_up:
        raise DoesNotApply("Static ranges need rows to calibrate on; upload a reference of this model.")
    quantiser = QDQQuantizer(
        prepared,
        True,  # a scale each channel
        False,  # the whole range of 8 bits
        QuantType.QInt8,
        QuantType.QInt8,
        _ranges(prepared, sample.feed),
        [],
        [],
        _OPERATORS,
        {
            "MatMulConstBOnly": True,
            "DefaultTensorType": onnx.TensorProto.FLOAT,
            "QDQDisableWeightAdjustForInt32Bias": True,  # fails on a Gemm whose bias has another scale a channel
        },
    )
    return quantise(quantiser)


def _ranges(model: onnx.ModelProto, feed: Feed) -> dict[str, TensorData]:
    """Run the rows and note the least and the greatest value of every float tensor of the main graph."""
    session = OnnxSession(_with_all_outputs(model).SerializeToString(), options=_plain_options())
    ranges: dict[str, tuple[np.float32, np.float32]] = {}
    rows = len(next(iter(feed.values())))
    for start in range(0, rows, _BATCH):
        batch = {name: values[start : start + _BATCH] for name, values in feed.items()}
        answers = session.run(batch, session.output_names)
        for name, values in [*batch.items(), *zip(session.output_names, answers, strict=True)]:
            ranges = _widen(ranges, name, values)
    if not ranges:
        raise DoesNotApply("No tensor of the graph was finite on the rows to calibrate on.")
    return {name: TensorData(lowest=low, highest=high) for name, (low, high) in ranges.items()}


def _widen(
    ranges: dict[str, tuple[np.float32, np.float32]], name: str, values: Array
) -> dict[str, tuple[np.float32, np.float32]]:
    if values.dtype != np.float32:
        return ranges
    finite = values[np.isfinite(values)]
    if not finite.size:
        return ranges
    low, high = ranges.get(name, (np.float32(np.inf), np.float32(-np.inf)))
    return ranges | {name: (np.minimum(low, finite.min()), np.maximum(high, finite.max()))}


def _with_all_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    shown = onnx.ModelProto.FromString(model.SerializeToString())
    known = {output.name for output in shown.graph.output}
    for node in shown.graph.node:
        for name in node.output:
            if name and name not in known:
                shown.graph.output.append(onnx.ValueInfoProto(name=name))
    return shown


def _plain_options() -> ort.SessionOptions:
    """Keep the graph as it is: a fused tensor would have no range."""
    options = new_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options
