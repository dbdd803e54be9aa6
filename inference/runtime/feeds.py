"""Lays features out by name as the inputs of a version take them."""

from collections.abc import Mapping

import numpy as np

from inference.runtime.session import Array
from inference.signatures import Signature, TensorSpec

_DTYPES = {
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BOOL": np.bool_,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
}  # fmt: skip


def feed_of(signature: Signature, features: Mapping[str, Array]) -> dict[str, Array]:
    """Lay features out as the version's inputs take them: columns of one tensor, or an input each."""
    if len(signature.inputs) == 1:
        [spec] = signature.inputs
        columns = [_column(signature, features[one.name], one.name, spec) for one in signature.features]
        return {spec.name: np.column_stack(columns).reshape(-1, *_beyond_rows(spec, len(columns)))}
    return {
        spec.name: _column(signature, features[spec.name], spec.name, spec).reshape(-1, *spec.shape[1:])
        for spec in signature.inputs
    }


def _beyond_rows(spec: TensorSpec, columns: int) -> list[int]:
    return [columns] if len(spec.shape) > 1 else []


def _column(signature: Signature, values: Array, name: str, spec: TensorSpec) -> Array:
    if spec.datatype != "BYTES":
        return values.astype(_DTYPES[spec.datatype])
    token = signature.missing.get(name, "")
    return np.array([token if value is None else value for value in values], object)
