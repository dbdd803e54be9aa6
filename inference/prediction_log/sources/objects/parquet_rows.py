"""Reads the rows of a Parquet file as JSON: batch after batch of a row group, text and bytes as dictionaries."""

import base64
from collections.abc import Iterator
from typing import IO, Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inference.data_files.vectors import oversized_lists

BATCH_ROWS = 1_000
BATCH_TEXT_BYTES = (
    16 << 20
)  # of rows that are written as JSON at once: a small file can hold a long text many times
BUFFER_BYTES = 64 << 10  # of each column
MAX_FOOTER_BYTES = 64 << 20


def read_parquet(file: IO[bytes], start: int) -> Iterator[tuple[bytes, str]]:
    """Yield the rows from `start` on, or nothing of a row and why; times without a zone are taken for UTC.

    Raises ValueError, OSError and errors of Arrow where the file is broken.
    """
    parquet = _open(file)
    count = start
    for batch in _batches(parquet, start):
        for part in _parts(pa.Table.from_batches([batch])):
            yield from _written(part)
        count += batch.num_rows
    if count < parquet.metadata.num_rows:
        raise ValueError(f"it declares {parquet.metadata.num_rows:,} rows and ends after {count:,}")


def _written(table: pa.Table) -> list[tuple[bytes, str]]:
    """Return rows as JSON; where one cannot be written, such as a date after the year 9999, nothing and why."""
    try:
        return [(_encoder.encode(row), "") for row in _plain(table).to_pylist()]
    except (ValueError, OverflowError) as error:
        if table.num_rows == 1:
            return [(b"", str(error)[:200])]
    return [row for place in range(table.num_rows) for row in _written(table.slice(place, 1))]


def _open(file: IO[bytes]) -> pq.ParquetFile:
    schema = pq.read_schema(file)
    names = schema.names
    if len(set(names)) < len(names):
        raise ValueError("two of its columns have one name")
    file.seek(0)
    parquet = pq.ParquetFile(
        file,
        read_dictionary=[field.name for field in schema if _is_text_or_bytes(field.type)],
        buffer_size=BUFFER_BYTES,
        pre_buffer=False,
        thrift_string_size_limit=MAX_FOOTER_BYTES,
        thrift_container_size_limit=1_000_000,
    )
    if fault := oversized_lists(parquet.metadata):
        raise ValueError(fault)
    return parquet


def _batches(parquet: pq.ParquetFile, skipped: int) -> Iterator[pa.RecordBatch]:
    """Read on after `skipped` rows, without decoding the row groups that lie wholly before."""
    for group in range(parquet.metadata.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        if skipped >= rows:
            skipped -= rows
            continue
        for batch in parquet.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], use_threads=False):
            passed = min(skipped, batch.num_rows)
            skipped -= passed
            if passed < batch.num_rows:
                yield batch.slice(passed)


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    """Cut a table into parts of which the texts are not too large together."""
    widest = sum(_longest_text(column) for column in table.columns)
    rows = max(1, BATCH_TEXT_BYTES // max(widest, 1))
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)


def _longest_text(column: pa.ChunkedArray) -> int:
    if not pa.types.is_dictionary(column.type):
        return 0
    longest = [pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in column.chunks]
    return max(longest, default=0)


def _plain(table: pa.Table) -> pa.Table:
    """Return a table of types that JSON has: times in UTC to the microsecond, and fractions in floating point."""
    for place, field in enumerate(table.schema):
        kind = _plain_type(field.type)
        if kind is not None:
            column = table.column(place).cast(kind, safe=False)
            table = table.set_column(place, field.name, column)
    return table


def _plain_type(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC")
    if pa.types.is_float16(kind) or (pa.types.is_decimal(kind) and kind.scale != 0):
        return pa.float64()
    return None


def _is_text_or_bytes(kind: pa.DataType) -> bool:
    return any(
        is_kind(kind)
        for is_kind in (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
        )
    )


def _write_other(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, memoryview) else str(value)


_encoder = msgspec.json.Encoder(enc_hook=_write_other, decimal_format="number")  # ids are exact
