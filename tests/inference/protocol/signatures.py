"""Signatures and batches for the protocols that name no datatypes, small enough to check by eye."""

import msgspec
import numpy as np

from inference.protocol.results import BatchOutputs
from inference.protocol.v2.tensors import Buffer, TensorCodec
from inference.signatures import Feature, Signature, TensorSpec
from tests.inference.onnx_models import classifier_signature, echoing_signature, summing_signature

TABLE = summing_signature(3)  # one input X of f0, f1, f2; one output
BY_FEATURE = echoing_signature()  # inputs amount and carrier; outputs number and text
CLASSES = classifier_signature(3)  # outputs label and probabilities
IMAGES = msgspec.structs.replace(
    TABLE, features=[Feature("X", "float")], inputs=[TensorSpec("X", "FP32", [-1, 2, 2])]
)

SUMS = BatchOutputs([np.array([[6], [np.nan], [np.inf]], np.float32)])
COINS = BatchOutputs([np.array([1, 0]), np.array([[0.25, 0.75], [np.nan, -np.inf]], np.float32)])


def values_of(signature: Signature, tensors: list[Buffer]) -> dict[str, object]:
    """Give the values that were read for each input."""
    return {
        spec.name: TensorCodec(spec, None).join([buffer]).tolist()
        for spec, buffer in zip(signature.inputs, tensors, strict=True)
    }


def one_input(datatype: str) -> Signature:
    """One input `x` of one value a row."""
    kind = {"BYTES": "string", "BOOL": "bool"}.get(datatype, "float" if datatype.startswith("FP") else "int")
    return msgspec.structs.replace(
        TABLE, features=[Feature("x", kind)], inputs=[TensorSpec("x", datatype, [-1, 1])]
    )
