"""The labels of one packed chunk as one column of it: a few bytes a label, because its row says whose it is.

A chunk whose narrow rows are gone is never written anew, so a label names its prediction by the place of its row. The
ids that labels had are the predictions' own, but for those that were told under a client id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftline.base.periods import from_us, to_us
from inference.prediction_log.encryption.sealed_chunks import damage_named, open_stored
from inference.prediction_log.items import as_objects

_IPC = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=3), use_threads=False)
_MANY_NAMES = 256  # distinct texts, above which a list of them saves nothing


@dataclass(frozen=True)
class FoldedLabel:
    """One revision of a label; `place` is the row of its prediction, `client_id` the one it was told under, if any."""

    place: int
    client_id: str | None
    revision: int
    is_current: bool
    value: str
    labelled_at: datetime | None
    received_at: datetime
    source: str


@dataclass(frozen=True)
class FoldedLabels:
    """All labels of a chunk, ordered by row and by when they were told. All columns have one entry a label."""

    table: pa.RecordBatch

    @classmethod
    def read(cls, stored: bytes | memoryview | None) -> "FoldedLabels":
        """Read what a chunk holds, which may be nothing."""
        if stored is None:
            return cls(_batch([]))
        stream = open_stored(stored)
        with damage_named(), pa.ipc.open_stream(stream) as reader:
            table = reader.read_next_batch()
            table.validate(full=True)
        return cls(table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def write(self) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.table.schema, options=_IPC) as writer:
            writer.write_batch(self.table)
        return bytes(sink.getvalue().to_pybytes())

    @cached_property
    def places(self) -> NDArray[np.int64]:
        return np.cumsum(self.table.column("step").to_numpy().astype(np.int64))

    @cached_property
    def is_current(self) -> NDArray[np.bool_]:
        return np.asarray(self.table.column("is_current").to_numpy(zero_copy_only=False))

    @cached_property
    def values(self) -> NDArray[np.object_]:
        return _texts(self.table.column("value"))

    @cached_property
    def sources(self) -> NDArray[np.object_]:
        return _texts(self.table.column("source"))

    @cached_property
    def labelled_us(self) -> NDArray[np.int64]:
        """When each was told to have happened; 0 where nobody said."""
        return np.asarray(self.table.column("labelled_us").fill_null(0).to_numpy())

    @cached_property
    def received_us(self) -> NDArray[np.int64]:
        return np.asarray(self.table.column("received_us").to_numpy())

    @property
    def known_us(self) -> NDArray[np.int64]:
        """When each happened, as told, else when it was received."""
        return np.where(self.labelled_us > 0, self.labelled_us, self.received_us)

    def at(self, place: int) -> list[FoldedLabel]:
        """Return the labels of one row."""
        first, last = np.searchsorted(self.places, [place, place + 1])
        return list(self._between(int(first), int(last)))

    def add(self, labels: Sequence[FoldedLabel]) -> "FoldedLabels":
        """Return these labels and those that were there; of one id's the last in a row is the current one, if any."""
        both = sorted(
            [*self._between(0, len(self)), *labels],
            key=lambda label: (label.place, label.received_at, label.revision, label.client_id or ""),
        )
        last = {(label.place, label.client_id): number for number, label in enumerate(both)}
        current = [
            label.is_current and last[label.place, label.client_id] == number
            for number, label in enumerate(both)
        ]
        return FoldedLabels(_batch(both, current))

    def keep(self, rows: NDArray[np.bool_]) -> "FoldedLabels":
        """Return the labels of the rows that a chunk keeps; nothing of the others is left, not even among the names."""
        places = np.cumsum(rows) - 1
        kept = [
            replace(label, place=int(places[label.place]))
            for label in self._between(0, len(self))
            if rows[label.place]
        ]
        return FoldedLabels(_batch(kept, [label.is_current for label in kept]))

    def _between(self, first: int, last: int) -> Iterator[FoldedLabel]:
        part = self.table.slice(first, last - first)
        columns = (part.column(name).to_pylist() for name in _COLUMNS)
        for place, found in zip(self.places[first:last].tolist(), zip(*columns, strict=True), strict=True):
            client_id, revision, is_current, value, labelled_us, received_us, source = found
            labelled_at = None if labelled_us is None else from_us(labelled_us)
            yield FoldedLabel(
                place, client_id, revision, is_current, value, labelled_at, from_us(received_us), source
            )


_COLUMNS = ("client_id", "revision", "is_current", "value", "labelled_us", "received_us", "source")


def _batch(labels: Sequence[FoldedLabel], is_current: Sequence[bool] = ()) -> pa.RecordBatch:
    """Write rows as steps from the one before, which are mostly 1, and few names as a list of them."""
    places = np.array([label.place for label in labels], np.int32)
    return pa.record_batch(
        {
            "step": pa.array(np.diff(places, prepend=np.int32(0)), pa.int32()),
            "revision": pa.array([label.revision for label in labels], pa.int32()),
            "is_current": pa.array(is_current, pa.bool_()),
            "value": _names([label.value for label in labels]),
            "labelled_us": pa.array(
                [label.labelled_at and to_us(label.labelled_at) for label in labels], pa.int64()
            ),
            "received_us": pa.array([to_us(label.received_at) for label in labels], pa.int64()),
            "source": _names([label.source for label in labels]),
            "client_id": _names([label.client_id for label in labels]),
        }
    )


def _names(texts: Sequence[str | None]) -> pa.Array:
    column = pa.array(texts, pa.string())
    few = column.dictionary_encode()
    return few if len(few.dictionary) <= _MANY_NAMES else column


def _texts(column: pa.Array) -> NDArray[np.object_]:
    if not pa.types.is_dictionary(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    names: list[Any] = column.dictionary.to_pylist()
    return as_objects([*names, None])[column.indices.fill_null(len(names)).to_numpy()]
