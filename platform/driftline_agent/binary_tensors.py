"""Tensors as bytes behind the JSON: V2's extension `binary_tensor_data`, without which an image is a long text."""

import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from driftline_agent.datatypes import DATATYPES
from driftline_agent.errors import BadRequest
from driftline_agent.model import Array

SIZE = "binary_data_size"
LENGTH_HEADER = "Inference-Header-Content-Length"
"""Says how long the JSON is that comes before the bytes."""
BINARY_TYPE = "application/octet-stream"
_LENGTH = struct.Struct("<I")


class Tail:
    """The bytes behind the JSON of a request, which its tensors take in their order."""

    def __init__(self, content: bytes) -> None:
        self._rest = memoryview(content)

    def take(self, size: Any, at: str) -> memoryview:
        """Take so many bytes; raises BadRequest where there are fewer."""
        if type(size) is not int or not 0 <= size <= len(self._rest):
            raise BadRequest(
                f"{at}: '{SIZE}' must be a whole number of bytes, of which {len(self._rest):,} are left"
            )
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def check_end(self) -> None:
        """Raise BadRequest where bytes are left that no tensor took."""
        if self._rest:
            raise BadRequest(f"the body has {len(self._rest):,} bytes behind the JSON that no tensor takes")


def read_tensor(content: memoryview, datatype: str, shape: Sequence[int], at: str) -> Array:
    """Read a tensor of little-endian values; a text has its length in UTF-8 before it. Raises BadRequest."""
    dtype = np.dtype(DATATYPES[datatype].dtype).newbyteorder("<")
    if datatype == "BYTES":
        texts = list(_texts(content, at))
        found = np.empty(len(texts), object)
        found[:] = texts
    elif len(content) != math.prod(shape) * dtype.itemsize:
        wanted = f"{math.prod(shape) * dtype.itemsize:,} bytes, as the shape says; it has {len(content):,}"
        raise BadRequest(f"{at}: '{SIZE}' must be {wanted}")
    elif datatype == "BOOL" and not set(bytes(content)) <= {0, 1}:
        raise BadRequest(f"{at}: a value of BOOL is a byte of 0 or 1")
    else:
        found = np.require(
            np.frombuffer(content, dtype), requirements="A"
        )  # after a text it may lie anywhere
    if found.size != math.prod(shape):
        raise BadRequest(
            f"{at}: it must hold {math.prod(shape):,} texts, as the shape says; it has {found.size:,}"
        )
    return found.reshape(shape)


def _texts(content: memoryview, at: str) -> Iterator[str]:
    while content:
        end = _LENGTH.size + (
            _LENGTH.unpack_from(content)[0] if len(content) >= _LENGTH.size else len(content)
        )
        if end > len(content):
            raise BadRequest(f"{at}: a text ends beyond its tensor")
        try:
            yield str(content[_LENGTH.size : end], "utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(f"{at}: a text is not UTF-8") from error
        content = content[end:]


def write_tensor(values: Array) -> bytes:
    """Write a tensor as `read_tensor` reads it."""
    if values.dtype != object:
        return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    return b"".join(_with_length(str(text).encode()) for text in values.ravel().tolist())


def _with_length(text: bytes) -> bytes:
    return _LENGTH.pack(len(text)) + text


def are_wanted(document: dict[str, Any], names: Iterable[str]) -> frozenset[str]:
    """Return which outputs a request wants as bytes: those that it names so, or all that it says nothing else of."""
    by_default = _parameter(document, "binary_data_output") is True
    wanted = dict.fromkeys(names, by_default)
    outputs = document.get("outputs")
    for output in outputs if isinstance(outputs, list) else []:
        name = output.get("name") if isinstance(output, dict) else None
        if isinstance(name, str) and name in wanted:
            own = _parameter(output, "binary_data")
            wanted[name] = by_default if own is None else own is True
    return frozenset(name for name, as_bytes in wanted.items() if as_bytes)


def _parameter(document: dict[str, Any], name: str) -> Any:
    parameters = document.get("parameters")
    return parameters.get(name) if isinstance(parameters, dict) else None
