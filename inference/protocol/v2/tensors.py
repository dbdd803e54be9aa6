"""V2 tensors in JSON <-> row-major little-endian buffers, which join into batches without a copy a value."""

import math
import struct
from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from inference.signatures import Signature, TensorSpec

Scalar = float | int | str | bool | None
Buffer = bytes | list[str]  # texts where the datatype is BYTES

_STRUCT_CODES = {
    "BOOL": "?",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}
NUMPY_TYPES: dict[str, np.dtype[np.generic]] = {
    name: np.dtype("<" + code) for name, code in _STRUCT_CODES.items()
}
FLOATS = {"FP16", "FP32", "FP64"}


class InvalidRequest(ValueError):
    """The caller's request cannot be answered; the text says what to change, `status` is that of HTTP."""

    status = 400


class TooManyRows(InvalidRequest):
    """The request holds more rows than one may."""

    status = 413


class TensorCodec:
    """Packs one input's JSON values into a buffer and joins buffers into the batch that the model takes."""

    def __init__(self, spec: TensorSpec, missing: str | None) -> None:
        if spec.datatype != "BYTES" and spec.datatype not in _STRUCT_CODES:
            raise ValueError(f"Input {spec.name!r} has the datatype {spec.datatype}, which V2 does not know.")
        self.name = spec.name
        self.datatype = spec.datatype
        self.row_shape = spec.shape[1:]
        self.width = math.prod(self.row_shape)
        self.missing = missing
        self._code = _STRUCT_CODES.get(spec.datatype, "")
        self._dtype = NUMPY_TYPES.get(spec.datatype)
        self._one_row = struct.Struct(f"<{self.width}{self._code}") if self._code else None

    def pack(self, values: Sequence[Scalar]) -> Buffer:
        """Pack values row after row; null is NaN in a float tensor, and the missing token in BYTES."""
        if self._one_row is None:
            return [self._text(value, place) for place, value in enumerate(values)]
        try:
            if len(values) == self.width:
                return self._one_row.pack(*values)
            return struct.pack(f"<{len(values)}{self._code}", *values)
        except (struct.error, OverflowError):
            return b"".join(self._pack_one(value, place) for place, value in enumerate(values))

    def _pack_one(self, value: Scalar, place: int) -> bytes:
        if value is None:
            value = self._not_a_number(place)
        try:
            return struct.pack(f"<{self._code}", value)
        except (struct.error, OverflowError):
            raise InvalidRequest(
                f"Input '{self.name}' holds {shorten(value)} at place {place}, which is not a value of "
                f"{self.datatype}; send one that is."
            ) from None

    def _not_a_number(self, place: int) -> float:
        if self.datatype not in FLOATS:
            raise InvalidRequest(
                f"Input '{self.name}' holds null at place {place}; {self.datatype} has no value for "
                "'missing'. Send a number."
            )
        return math.nan

    def _text(self, value: Scalar, place: int) -> str:
        if value is None and self.missing is not None:
            return self.missing
        if not isinstance(value, str):
            hint = " and the model names no token for a missing one" if value is None else ""
            raise InvalidRequest(
                f"Input '{self.name}' holds {shorten(value)} at place {place}{hint}; send a string."
            )
        return value

    def join(self, buffers: Sequence[Buffer]) -> npt.NDArray[np.generic]:
        """Join the buffers of several requests into one array of rows."""
        if self._dtype is None:
            texts = [text for buffer in buffers for text in buffer]
            return np.array(texts, dtype=object).reshape(-1, *self.row_shape)
        joined: bytes = b"".join(buffers)  # type: ignore[arg-type]
        return np.frombuffer(joined, dtype=self._dtype).reshape(-1, *self.row_shape)

    def check_types(self, values: Sequence[object]) -> None:
        """Refuse values that JSON holds in another type than this tensor's, such as true among numbers."""
        allowed = self._json_types()
        for place, value in enumerate(values):
            if type(value) not in allowed:
                raise InvalidRequest(
                    f"Input '{self.name}' holds {shorten(value)} at place {place}, which is not a value of "
                    f"{self.datatype}; send one that is."
                )

    def _json_types(self) -> tuple[type, ...]:
        if self.datatype == "BYTES":
            return (str, type(None))
        if self.datatype == "BOOL":
            return (bool, type(None))
        return (int, float, type(None)) if self.datatype in FLOATS else (int, type(None))


def tensor_codecs(signature: Signature) -> list[TensorCodec]:
    """Make the codecs of a signature's inputs."""
    return [TensorCodec(spec, signature.missing.get(spec.name)) for spec in signature.inputs]


def json_type_of(spec: TensorSpec) -> object:
    """Return the Python type that a typed JSON decoder should expect for one value of the tensor."""
    if spec.datatype == "BYTES":
        return str | None
    if spec.datatype == "BOOL":
        return bool
    return float | None if spec.datatype in FLOATS else int


def shorten(value: object) -> str:
    """Show a value from a request in a message: as JSON would, never longer than 64 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(_cut(value))[:300].encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 64 else text[:61] + "..."


def _cut(value: object, levels: int = 3) -> object:
    """Take of a value no more than a message shows, because to write all of it may take long."""
    if isinstance(value, str):
        return value[:300]
    if isinstance(value, list):
        return [_cut(item, levels - 1) for item in value[:24]] if levels else []
    if isinstance(value, dict):
        items = islice(value.items(), 24 if levels else 0)
        return {key[:300]: _cut(item, levels - 1) for key, item in items}
    return value
