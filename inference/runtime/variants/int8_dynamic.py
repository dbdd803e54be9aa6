"""INT8 weights; the range of what they are multiplied by is taken from each request."""

import onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode, QuantType

from inference.runtime.variants.base import Sample
from inference.runtime.variants.quantising import prepare, quantise

_OPERATORS = ["MatMul", "Conv"]


def quantise_dynamically(model: onnx.ModelProto, sample: Sample) -> onnx.ModelProto:
    """Quantise the stored weights of MatMul, Gemm and Conv to 8 bits, a scale each channel.

    The product is computed by MatMulInteger and ConvInteger of ONNX itself; needs opset 11. The ranges are those of
    all rows that are asked at once, so a row's answer depends a little on the rows beside it.
    """
    graph = ONNXModel(prepare(model, oldest_opset=11))
    graph.replace_gemm_with_matmul()
    quantiser = ONNXQuantizer(
        graph.model,
        True,  # a scale each channel
        False,  # the whole range of 8 bits
        QuantizationMode.IntegerOps,
        True,  # told to be static, it does not replace Gemm again, by way of a file
        QuantType.QInt8,
        QuantType.QUInt8,
        None,
        [],
        [],
        _OPERATORS,
        {"MatMulConstBOnly": True, "DefaultTensorType": onnx.TensorProto.FLOAT},
    )
    quantiser.static = False
    return quantise(quantiser)
