"""Arrays <-> shared memory. What is read may come from a hostile process: it is checked before it is believed."""

import math
import mmap
from collections.abc import Sequence

import msgspec
import numpy as np
from msgspec import Struct

from driftline.base.errors import UNREADABLE
from inference.protocol.v2.tensors import NUMPY_TYPES
from inference.runtime.session import Array

MAX_DIMENSIONS, MAX_LENGTH = 32, 1 << 31
MAX_HEADER_BYTES = 16 * 1024 * 1024
_ALIGNMENT = 64
_NAMES = {dtype: name for name, dtype in NUMPY_TYPES.items()}
_TEXT = "BYTES"
_LENGTH = np.dtype("<u4")

type Memory = mmap.mmap | bytearray


class BadTensors(Exception):
    """What the other process wrote is no description of arrays in the memory that it shares."""


class TensorHeader(Struct, frozen=True, array_like=True):
    """Where in the memory an array lies.

    Texts lie there as the lengths of all in bytes, 32 bits each, and then their UTF-8, one behind the other.
    """

    datatype: str
    shape: list[int]
    offset: int
    size: int


_decoder = msgspec.msgpack.Decoder(list[TensorHeader])
_encoder = msgspec.msgpack.Encoder()


class AreaLayout:
    """Arrays with their places in a memory that may not exist yet."""

    def __init__(self, arrays: Sequence[Array], start: int = 0) -> None:
        """Lay arrays out from `start` on; raise ValueError for one whose type has no place there."""
        self.headers: list[TensorHeader] = []
        self._parts: list[tuple[int, Array | bytes]] = []
        end = start
        for array in arrays:
            offset = -(-end // _ALIGNMENT) * _ALIGNMENT
            datatype, part, size = _prepare(array)
            self.headers.append(TensorHeader(datatype, list(array.shape), offset, size))
            self._parts.append((offset, part))
            end = offset + size
        self.end = end

    def encode_headers(self) -> bytes:
        """Encode the headers, as `read_arrays` wants them."""
        return _encoder.encode(self.headers)

    def write(self, memory: Memory) -> None:
        """Copy the arrays to their places."""
        for offset, part in self._parts:
            if isinstance(part, bytes):
                memory[offset : offset + len(part)] = part
            elif part.size:
                np.ndarray(part.shape, part.dtype, memory, offset)[...] = part


def _prepare(array: Array) -> tuple[str, Array | bytes, int]:
    if array.dtype == object:
        packed = pack_texts(array.ravel().tolist())
        return _TEXT, packed, len(packed)
    name = _NAMES.get(array.dtype)
    if name is None:
        raise ValueError(f"An array of {array.dtype} cannot be passed to another process.")
    return name, array, array.nbytes


def pack_texts(texts: list[str]) -> bytes:
    """Write texts as their lengths and their UTF-8."""
    encoded = [text.encode() for text in texts]
    return np.fromiter(map(len, encoded), _LENGTH, len(encoded)).tobytes() + b"".join(encoded)


def read_arrays(memory: Memory, headers: bytes, *, trusted: bool = False) -> list[Array]:
    """Read the arrays that `headers` describe.

    The arrays are copies of whoever is not trusted, and views of the memory of whoever is. Raises BadTensors.
    """
    try:
        described = _decoder.decode(headers)
    except UNREADABLE as error:
        raise BadTensors(f"the headers cannot be read ({error})") from error
    return [read_array(memory, header, trusted=trusted) for header in described]


def read_array(memory: Memory, header: TensorHeader, *, trusted: bool = False) -> Array:
    """Read one array; see `read_arrays`."""
    shape, offset, size = header.shape, header.offset, header.size
    if not (0 <= offset <= len(memory) and 0 <= size <= len(memory) - offset):
        raise BadTensors("an array lies beyond the memory")
    if len(shape) > MAX_DIMENSIONS or any(not 0 <= length <= MAX_LENGTH for length in shape):
        raise BadTensors("an array has an impossible shape")
    count = math.prod(shape)
    if header.datatype == _TEXT:
        texts = _read_texts(bytes(memory[offset : offset + size]), count)
        return _texts_of_shape(texts, shape)
    dtype = NUMPY_TYPES.get(header.datatype)
    if dtype is None or size != count * dtype.itemsize:
        raise BadTensors("an array has an unknown type or another size than its shape says")
    if not count:
        return _empty(shape, dtype)
    array = np.ndarray(shape, dtype, memory, offset)
    if trusted:
        return array
    if dtype.kind == "b":  # NumPy relies on truth values that are 0 or 1
        return np.ndarray(shape, np.uint8, memory, offset) != 0
    return array.copy()


def _read_texts(raw: bytes, count: int) -> list[str]:
    """Read texts from a copy that the other process cannot change any more."""
    if count * _LENGTH.itemsize > len(raw):
        raise BadTensors("there are fewer texts than the shape says")
    lengths = np.frombuffer(raw, _LENGTH, count).tolist()
    start = count * _LENGTH.itemsize
    if sum(lengths) != len(raw) - start:
        raise BadTensors("texts have other lengths than they say")
    texts: list[str] = []
    try:
        for length in lengths:
            texts.append(raw[start : start + length].decode())
            start += length
    except UnicodeDecodeError as error:
        raise BadTensors("a text is not UTF-8") from error
    return texts


def _texts_of_shape(texts: list[str], shape: list[int]) -> Array:
    if not texts:
        return _empty(shape, np.dtype(object))
    return np.array(texts, object).reshape(shape)


def _empty(shape: list[int], dtype: np.dtype[np.generic]) -> Array:
    try:
        return np.empty(shape, dtype)
    except ValueError as error:  # lengths beside a zero, whose product is too large
        raise BadTensors("an array has an impossible shape") from error
