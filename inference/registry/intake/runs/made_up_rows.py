"""Rows that nobody asked, for the first runs of a model; free of any runtime."""

from typing import Any

import numpy as np

from inference.registry.intake.report import Fill, ObservedOutput
from inference.signatures import TensorSpec

Array = np.ndarray[Any, np.dtype[Any]]

NUMPY_TYPES = {"FP16": "f2", "FP32": "f4", "FP64": "f8", "BOOL": "?", "BYTES": "O"}
_GUESSED_SIZE = 32  # of an open dimension beyond rows and columns, such as an image's side


def fills_of(inputs: list[TensorSpec]) -> list[Fill]:
    """Name the fills that the inputs allow."""
    fills: list[Fill] = ["typical"]
    if any(spec.datatype.startswith("FP") for spec in inputs):
        fills.append("missing")
    if any(spec.datatype == "BYTES" for spec in inputs):
        fills.append("unseen")
    return fills


def with_columns(spec: TensorSpec, columns: int | None) -> TensorSpec:
    """Extend a table whose width is open to so many columns."""
    if len(spec.shape) != 2 or spec.shape[1] != -1:
        return spec
    return TensorSpec(spec.name, spec.datatype, [-1, columns or 1])


def make_up(spec: TensorSpec, rows: int, fill: Fill, category: str = "") -> Array:
    """Fill so many rows of a tensor; `category` is a text that the model knows."""
    sizes = [rows, *[_GUESSED_SIZE] * len(spec.shape)]
    shape = [size if size >= 0 else guess for size, guess in zip(spec.shape, sizes, strict=False)]
    value: object = 0
    if spec.datatype == "BYTES":
        value = "" if fill == "unseen" else category
    elif spec.datatype.startswith("FP") and fill == "missing":
        value = np.nan
    return np.full(shape, value, dtype=NUMPY_TYPES.get(spec.datatype, spec.datatype.lower()))


def observe(values: object) -> ObservedOutput:
    """Describe what an output looks like."""
    array = np.asarray(values)
    floats = array.dtype.kind == "f"
    return ObservedOutput(
        shape=list(array.shape),
        finite=bool(np.isfinite(array).all()) if floats else True,
        sums_to_one=floats and array.ndim == 2 and bool(np.allclose(array.sum(axis=1), 1, atol=1e-3)),
    )
