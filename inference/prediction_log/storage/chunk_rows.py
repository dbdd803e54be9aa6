"""Reads the rows of a stored chunk: the one way to open its payload."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from driftline.base.periods import rfc3339
from inference.prediction_log.encryption.sealed_chunks import damage_named, open_stored
from inference.prediction_log.schemas import UnreadableRows


@dataclass(frozen=True)
class UnreadableChunk:
    """A chunk that is damaged: how many rows it holds, of which version, role and span of event time."""

    pk: int
    version_id: int
    role: str
    start: datetime
    end: datetime
    rows: int
    reason: str

    def describe(self, versions: dict[int, str]) -> UnreadableRows:
        """Write it for a caller; `versions` are the model's names by id."""
        return {
            "from": rfc3339(self.start),
            "to": rfc3339(self.end),
            "version": versions[self.version_id],
            "role": self.role,
            "rows": self.rows,
        }


def read_rows(
    payload: bytes | memoryview, names: Collection[str] | None = None, *, without: Collection[str] = ()
) -> pa.RecordBatch:
    """Read a chunk's rows, of some columns alone where they are named, or `without` some: the others are not even
    decompressed.

    Raises ChunkDamaged where the bytes are no rows. They are checked in full: a place outside its column would have
    Arrow read memory that is not the chunk's, and end the process.
    """
    stream = open_stored(payload)
    with damage_named():
        options = None
        if names is not None or without:
            schema = pa.ipc.read_schema(pa.py_buffer(stream))
            wanted = schema.names if names is None else names
            included = [
                place for place, name in enumerate(schema.names) if name in wanted and name not in without
            ]
            options = pa.ipc.IpcReadOptions(included_fields=included, use_threads=False)
        with pa.ipc.open_stream(stream, options=options) as reader:
            batch = reader.read_next_batch()
        batch.validate(full=True)
    return batch
