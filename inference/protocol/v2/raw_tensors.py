"""Tensors as the bytes that the protocol's binary forms carry: row-major and little-endian.

A BOOL takes one byte; an element of BYTES is its length in four bytes, then its bytes.
"""

import struct

import numpy as np
import numpy.typing as npt

from inference.protocol.json_forms.json_documents import check_text
from inference.protocol.v2.tensors import FLOATS, NUMPY_TYPES, Buffer, InvalidRequest, TensorCodec

Array = npt.NDArray[np.generic]

_LENGTH = struct.Struct("<I")


def read_raw(codec: TensorCodec, raw: bytes, rows: int) -> Buffer:
    """Read one input's bytes into its buffer; raise InvalidRequest where they are not `rows` of its rows."""
    values = rows * codec.width
    if codec.datatype == "BYTES":
        return _read_texts(codec.name, raw, values)
    size = values * NUMPY_TYPES[codec.datatype].itemsize
    if len(raw) != size:
        raise InvalidRequest(
            f"Input '{codec.name}' has {len(raw)} bytes; {values} values of {codec.datatype} take {size}."
        )
    if codec.datatype == "BOOL" and raw.translate(None, b"\0\1"):
        raise InvalidRequest(
            f"Input '{codec.name}' holds a BOOL that is neither 0 nor 1; send one byte of either."
        )
    if codec.datatype in FLOATS:
        refuse_infinity(codec, raw)
    return raw


def refuse_infinity(codec: TensorCodec, raw: bytes) -> None:
    """Refuse what JSON could not have carried and no summary can add up; NaN is a missing value."""
    infinite = np.isinf(np.frombuffer(raw, NUMPY_TYPES[codec.datatype]))
    if infinite.any():
        raise InvalidRequest(
            f"Input '{codec.name}' holds infinity at place {int(infinite.argmax())}; send a finite number, or "
            "NaN for a missing one."
        )


def _read_texts(name: str, raw: bytes, values: int) -> list[str]:
    texts: list[str] = []
    place = 0
    while place < len(raw) and len(texts) < values:
        start = place + _LENGTH.size
        if start > len(raw):
            break
        place = start + _LENGTH.unpack_from(raw, start - _LENGTH.size)[0]
        if place > len(raw):
            break
        texts.append(read_text(name, raw[start:place], len(texts)))
    if len(texts) != values or place != len(raw):
        raise InvalidRequest(
            f"Input '{name}' does not hold {values} elements of BYTES in its {len(raw)} bytes; send each as "
            "its length in 4 bytes, little-endian, and then its bytes."
        )
    return texts


def read_text(name: str, element: bytes, place: int) -> str:
    """Read an element of BYTES, which has to be text that a database can keep."""
    try:
        text = element.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(
            f"Input '{name}' holds bytes at place {place} that are not UTF-8; send text."
        ) from None
    check_text(text)
    return text


def write_raw(values: Array, datatype: str) -> bytes:
    """Write an output's values as bytes."""
    if datatype == "BYTES":
        elements = [element_of(value) for value in values.ravel().tolist()]
        return b"".join([_LENGTH.pack(len(element)) + element for element in elements])
    return values.astype(NUMPY_TYPES[datatype], copy=False).tobytes()


def element_of(value: object) -> bytes:
    """Return a model's text as an element of BYTES."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
