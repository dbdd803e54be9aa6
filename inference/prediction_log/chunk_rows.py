"""Reads the rows of a stored chunk: the one way to open its payload."""

from collections.abc import Collection

import pyarrow as pa

from inference.prediction_log.sealed_chunks import open_stored


def read_rows(payload: bytes | memoryview, names: Collection[str] | None = None) -> pa.RecordBatch:
    """Read a chunk's rows, of some columns alone where they are named: the others are not even decompressed."""
    stream = open_stored(payload)
    options = None
    if names is not None:
        schema = pa.ipc.read_schema(pa.py_buffer(stream))
        included = [place for place, name in enumerate(schema.names) if name in names]
        options = pa.ipc.IpcReadOptions(included_fields=included, use_threads=False)
    with pa.ipc.open_stream(stream, options=options) as reader:
        return reader.read_next_batch()
