"""Model outputs -> nested JSON values, row by row or column by column."""

import base64
from collections.abc import Sequence
from typing import Literal

import numpy as np
import orjson

from inference.protocol.results import Array, BatchOutputs
from inference.protocol.v2.raw_tensors import element_of
from inference.signatures import Signature

type NotFinite = Literal["null", "token"]


class ValueWriter:
    """Writes the outputs of one version.

    `not_finite` says how NaN and infinity are written: as null, or as the tokens that JSON does not know but
    TensorFlow Serving does. With `bare` a row of one value stands without its list. With `base64_suffix` an
    output whose name ends so is written as bytes.
    """

    def __init__(
        self, signature: Signature, *, not_finite: NotFinite, bare: bool, base64_suffix: str = ""
    ) -> None:
        self._names = [orjson.dumps(spec.name) for spec in signature.outputs]
        self._as_bytes = [
            bool(base64_suffix) and spec.name.endswith(base64_suffix) and spec.datatype == "BYTES"
            for spec in signature.outputs
        ]
        self._tokens = not_finite == "token"
        self._bare = bare

    def write_rows(self, outputs: BatchOutputs, start: int, stop: int, places: Sequence[int]) -> list[bytes]:
        """Write one value a row: the only output's, or an object by output."""
        columns = [self.write_values(outputs, place, start, stop) for place in places]
        if len(columns) == 1:
            return columns[0]
        heads = [self._names[place] for place in places]
        return [
            b"{%b}" % b",".join([b"%b:%b" % pair for pair in zip(heads, row, strict=True)])
            for row in zip(*columns, strict=True)
        ]

    def write_columns(self, outputs: BatchOutputs, start: int, stop: int, places: Sequence[int]) -> bytes:
        """Write one list an output: the only one's, or an object by output."""
        columns = [
            (self._names[place], b"[%b]" % b",".join(self.write_values(outputs, place, start, stop)))
            for place in places
        ]
        if len(columns) == 1:
            return columns[0][1]
        return b"{%b}" % b",".join([b"%b:%b" % column for column in columns])

    def write_values(self, outputs: BatchOutputs, place: int, start: int, stop: int) -> list[bytes]:
        """Write one output's value for each row."""
        values = outputs.arrays[place]
        if self._as_bytes[place]:
            texts = [_bytes_texts(row) for row in values[start:stop]]
        else:
            texts = outputs.texts(place)[start:stop]
        if self._tokens and not outputs.finite[place]:
            texts = [_with_tokens(text, row) for text, row in zip(texts, values[start:stop], strict=True)]
        shape = values.shape[1:]
        if self._bare and shape == (1,):
            return texts
        return [_nest(text, shape) for text in texts]


def _bytes_texts(row: Array) -> bytes:
    """Write the texts of a row as bytes in base64, with commas between."""
    elements = [element_of(value) for value in np.asarray(row).ravel().tolist()]
    return b",".join([b'{"b64":"%b"}' % base64.b64encode(element) for element in elements])


def _with_tokens(text: bytes, row: Array) -> bytes:
    """Write NaN and infinity where they stand as null, in order."""
    parts = text.split(b"null")
    if len(parts) == 1:
        return text
    values = np.asarray(row).ravel()
    tokens = [_token(value) for value in values[~np.isfinite(values)].tolist()]
    return b"".join([part for pair in zip(parts, [*tokens, b""], strict=True) for part in pair])


def _token(value: float) -> bytes:
    return b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity"


def write_numbers(values: Array) -> list[bytes]:
    """Write numbers one by one, those that are not finite as tokens."""
    flat = np.ascontiguousarray(values).ravel()
    if flat.dtype == np.float16:
        flat = flat.astype(np.float32)
    text = orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    if flat.dtype.kind == "f":
        text = _with_tokens(text, flat)
    return text.split(b",")


def _nest(text: bytes, shape: Sequence[int]) -> bytes:
    """Put brackets around values with commas between, as the shape of a row says."""
    if not shape:
        return text
    if len(shape) == 1:
        return b"[%b]" % text
    values = _split(text)
    for size in reversed(shape):
        starts = range(0, len(values), size) if size else ()
        values = [b"[%b]" % b",".join(values[start : start + size]) for start in starts]
    return values[0] if values else b"[]"


def _split(text: bytes) -> list[bytes]:
    """Split values with commas between; a text may hold commas of its own."""
    if b'"' not in text:
        return text.split(b",")
    return [orjson.dumps(value) for value in orjson.loads(b"[%b]" % text)]
