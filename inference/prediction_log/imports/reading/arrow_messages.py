"""Looks at an Arrow IPC stream before it is read: how many rows, and how many bytes once its buffers are unpacked.

The reader makes room for whatever length a compressed buffer says it has, so that is added up first. The headers are
flatbuffers (https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc),
which pyarrow has verified when it gives a message out.
"""

import struct
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3  # kinds of a message's header
_BUFFERS = np.dtype([("offset", "<i8"), ("length", "<i8")])


@dataclass(frozen=True)
class Extent:
    """What a stream says that it holds."""

    rows: int
    unpacked_bytes: int  # of the buffers that are compressed


def extent_of(stream: pa.Buffer) -> Extent:
    """Add up what every message of a stream declares; raises ValueError or one of pyarrow's errors where it is none."""
    rows = unpacked = 0
    for message in pa.ipc.MessageReader.open_stream(stream):
        try:
            header, kind = _header(message.metadata)
            if kind == _DICTIONARY_BATCH:
                unpacked += _unpacked_bytes(header.table(1), message.body)
            elif kind == _RECORD_BATCH:
                rows += header.number(0, "<q")
                unpacked += _unpacked_bytes(header, message.body)
        except struct.error as error:
            raise ValueError("a message's header is damaged") from error
    return Extent(rows, unpacked)


@dataclass(frozen=True)
class _Table:
    """A table of a flatbuffer, whose fields are found through its own list of places."""

    data: bytes
    place: int

    def _field(self, index: int) -> int | None:
        fields = self.place - struct.unpack_from("<i", self.data, self.place)[0]
        slot = 4 + 2 * index
        if slot >= struct.unpack_from("<H", self.data, fields)[0]:
            return None
        distance: int = struct.unpack_from("<H", self.data, fields + slot)[0]
        return self.place + distance if distance else None

    def number(self, index: int, form: str) -> int:
        place = self._field(index)
        return 0 if place is None else int(struct.unpack_from(form, self.data, place)[0])

    def has(self, index: int) -> bool:
        return self._field(index) is not None

    def referred(self, index: int) -> int:
        """Return the place that a field refers to."""
        place = self._field(index)
        if place is None:
            raise ValueError("a message's header lacks a field")
        return place + int(struct.unpack_from("<I", self.data, place)[0])

    def table(self, index: int) -> "_Table":
        return _Table(self.data, self.referred(index))


def _header(metadata: pa.Buffer) -> tuple[_Table, int]:
    data = metadata.to_pybytes()
    message = _Table(data, struct.unpack_from("<I", data, 0)[0])
    return message.table(2), message.number(1, "<B")


def _unpacked_bytes(batch: _Table, body: pa.Buffer) -> int:
    """Add up the lengths that stand before compressed buffers; -1 before one that is not."""
    if not batch.has(3):
        return 0
    start = batch.referred(2)
    (count,) = struct.unpack_from("<I", batch.data, start)
    buffers = np.frombuffer(batch.data, _BUFFERS, count, start + 4)
    held = buffers[buffers["length"] > 0]
    if (held["offset"] < 0).any() or (held["offset"] > body.size - 8).any():
        raise ValueError("a compressed buffer lies outside its message")
    content = np.frombuffer(body, np.uint8)
    return sum(
        max(int.from_bytes(content[place : place + 8].tobytes(), "little", signed=True), 0)
        for place in held["offset"].tolist()
    )
