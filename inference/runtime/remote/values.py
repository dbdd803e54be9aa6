"""JSON values of another server's answer -> arrays, of exactly the type and shape that the signature names."""

import math
from itertools import chain
from typing import Any

import numpy as np
import orjson

from driftline.base.errors import UNREADABLE
from inference.protocol.json_forms.json_documents import check_text, read_json_with_nan
from inference.protocol.v2.tensors import FLOATS, NUMPY_TYPES, InvalidRequest, shorten
from inference.runtime.remote.errors import garbage
from inference.runtime.session import Array
from inference.signatures import TensorSpec


def read_strict_json(body: bytes) -> Any:
    """Read an answer that must be JSON as the standard has it; raises UpstreamFailed."""
    try:
        return orjson.loads(body)
    except ValueError as error:
        raise garbage("it is not JSON") from error


def read_json_with_tokens(body: bytes) -> Any:
    """Read an answer in which NaN may stand for a number, as TensorFlow Serving writes it; raises UpstreamFailed."""
    try:
        return read_json_with_nan(body)
    except (InvalidRequest, *UNREADABLE) as error:
        raise garbage("it is not JSON") from error


def unnest(name: str, values: list[Any], levels: int) -> tuple[list[Any], list[int]]:
    """Flatten at most so many levels of lists below the first; give the values and the shape that they had."""
    shape = [len(values)]
    while levels and values and type(values[0]) is list:
        width = len(values[0])
        if any(type(part) is not list or len(part) != width for part in values):
            raise garbage(f"'{name}' holds lists of unequal length")
        values = list(chain.from_iterable(values))
        shape.append(width)
        levels -= 1
    return values, shape


def to_array(spec: TensorSpec, values: list[Any]) -> Array:
    """Turn flat values into an array of the tensor's type; null is NaN in a float tensor."""
    for kind in set(map(type, values)) - _types_of(spec.datatype):
        odd = next(value for value in values if type(value) is kind)
        raise garbage(f"'{spec.name}' holds {shorten(odd)}, which is not a value of {spec.datatype}")
    if spec.datatype == "BYTES":
        return _texts(spec, values)
    try:
        return np.array(values, NUMPY_TYPES[spec.datatype])
    except OverflowError as error:
        raise garbage(f"'{spec.name}' holds a number beyond {spec.datatype}") from error


def _texts(spec: TensorSpec, values: list[str]) -> Array:
    try:
        for text in values:
            check_text(text)
    except InvalidRequest as error:
        raise garbage(f"'{spec.name}' holds text that cannot be kept") from error
    return np.array(values, object)


def _types_of(datatype: str) -> set[type]:
    if datatype == "BYTES":
        return {str}
    if datatype == "BOOL":
        return {bool}
    return {int, float, type(None)} if datatype in FLOATS else {int}


def fit(spec: TensorSpec, values: Array, shape: list[int], rows: int) -> Array:
    """Bring values into their shape, which must be the signature's; a last dimension of 1 may be there or not."""
    wanted = [rows, *spec.shape[1:]]
    if shape and min(shape) >= 0 and values.size == math.prod(shape):
        for candidate in (shape, [*shape, 1], shape[:-1] if shape[-1:] == [1] else shape):
            if len(candidate) == len(wanted) and all(
                want in (-1, length) for want, length in zip(wanted, candidate, strict=True)
            ):
                return values.reshape(candidate)
    raise garbage(f"'{spec.name}' has the shape {shape} for {rows} rows and should have {wanted}")
