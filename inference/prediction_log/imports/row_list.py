"""The list of the rows that an import brought into the log, by id and time: an import of a wrong file is undone by it.

It grows at the length that the import's row knows, in the transaction that moves the import on, as the bad rows do.
"""

import os
import struct
from collections.abc import Collection, Iterator
from itertools import repeat
from pathlib import Path

import msgspec
import zstandard

from inference.prediction_log.imports import bad_rows
from inference.prediction_log.imports.models import Import

_LENGTH = struct.Struct(">I")


class ImportedRows(msgspec.Struct, array_like=True):
    """Rows of one block: ids, event times in microseconds, and of a shadow's rows, which share both, its version."""

    ids: list[str]
    times_us: list[int]
    shadows: list[str] = []
    """A version, or "" for the row of another role; empty where no row is a shadow's."""

    def row_keys(self) -> Iterator[tuple[str, int, str]]:
        """Yield what each row is known by."""
        return zip(self.ids, self.times_us, self.shadows or repeat("", len(self.ids)), strict=True)


def path_of(job: Import) -> Path:
    """Return where the list of an import lies."""
    return bad_rows.folder() / f"{job.pk}-rows"


def add_rows(job: Import, rows: ImportedRows) -> None:
    """Add the rows that a block brought; the import's row gets the new length."""
    if not rows.ids:
        return
    packed = zstandard.compress(msgspec.msgpack.encode(rows), 3)
    path = path_of(job)
    with path.open("r+b" if job.row_bytes else "wb") as file:
        file.seek(job.row_bytes)
        file.truncate()
        file.write(_LENGTH.pack(len(packed)) + packed)
        file.flush()
        os.fsync(file.fileno())
    job.row_bytes += _LENGTH.size + len(packed)


def read_rows(job: Import, offset: int) -> Iterator[tuple[ImportedRows, int]]:
    """Read blocks of rows from `offset` on, each with where the next one begins; what was not committed is left out."""
    with path_of(job).open("rb") as file:
        file.seek(offset)
        while offset < job.row_bytes:
            [length] = _LENGTH.unpack(file.read(_LENGTH.size))
            rows = msgspec.msgpack.decode(zstandard.decompress(file.read(length)), type=ImportedRows)
            offset += _LENGTH.size + length
            yield rows, offset


def names_any(job: Import, ids: Collection[str]) -> bool:
    """Return whether one of these ids is in the list, which may be there no more."""
    if not ids or not path_of(job).exists():
        return False
    wanted = frozenset(ids)
    return any(not wanted.isdisjoint(rows.ids) for rows, _ in read_rows(job, 0))
