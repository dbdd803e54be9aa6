"""Arrow streams to send as bodies."""

import pyarrow as pa

STREAM, FILE = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"


def as_stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
