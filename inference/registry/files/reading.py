"""Reads the files of references: CSV and Parquet, within bounds, as Arrow tables."""

import csv
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from driftline.base.errors import Problem, invalid
from inference.data_files.arrow_types import is_text
from inference.data_files.columns import FileReading, rewrite
from inference.data_files.formats import FileFormat, UnreadableText, column_names
from inference.data_files.preview import MISSING, transcode
from inference.data_files.vectors import is_vector, oversized_lists

MAX_COLUMNS = 5_000


MAX_CELLS = 200_000_000


MAX_UNPACKED_TEXT_BYTES = 1 << 30  # a small Parquet file may hold much text


MAX_NAME = 200


RESERVED = ("id", "timestamp", "label", "prediction", "probability")


def read_reference(path: Path, content_type: str, reading: FileReading | None) -> pa.Table:
    with path.open("rb") as file:
        magic = file.read(8)
    if magic.startswith((b"PK\x03\x04", b"ARROW1", b"\x1f\x8b", b"\xd0\xcf\x11\xe0")):
        raise Problem(
            415,
            "unsupported_media_type",
            "Send CSV or Parquet, not zip, gzip, Excel (save it as CSV UTF-8) or Arrow IPC.",
        )
    is_parquet = magic.startswith(b"PAR1")
    if "parquet" in content_type and not is_parquet:
        raise Problem(422, "not_parquet", "The body is announced as Parquet but does not start like one.")
    if reading is None:
        return _read_parquet(path, None) if is_parquet else _read_csv(path)
    table = _read_parquet(path, list(reading.stored_names())) if is_parquet else _read_csv_as(path, reading)
    table = rewrite(table, reading)
    return table if reading.format.decimal == "." else _with_numbers(table)


def _with_numbers(table: pa.Table) -> pa.Table:
    """Read texts as numbers where all are: those with points for thousands, such as 1.234,5, were texts so far."""
    columns = dict(zip(table.column_names, table.columns, strict=True))
    for name, column in columns.items():
        if name not in RESERVED and is_text(column.type):
            with suppress(pa.ArrowInvalid):
                columns[name] = column.cast(pa.float64())
    return pa.table(columns)


def _read_csv_as(path: Path, reading: FileReading) -> pa.Table:
    """Read a CSV of the format that a reading says."""
    if reading.format.encoding != "utf-8":
        plain = path.with_name("plain")
        try:
            with path.open("rb") as source, plain.open("wb") as target:
                transcode(source, target, reading.format.encoding)
        except UnreadableText as error:
            raise Problem(422, "invalid_encoding", str(error)) from error
        path = plain
    return _read_csv(path, reading)


def _read_parquet(path: Path, columns: list[str] | None) -> pa.Table:
    """Read a file whose size says nothing: until it is counted, each text is unpacked but once."""
    try:
        schema = pq.read_schema(path)
        text = [field.name for field in schema if is_text(field.type)]
        file = pq.ParquetFile(path, read_dictionary=text, pre_buffer=False)
        names = schema.names if columns is None else columns
        _check_size(names, file.metadata.num_rows)  # before any row is decoded
        _check_cells(file.metadata)
        _check_types(schema.field(name) for name in names)
        table = file.read(columns=columns, use_threads=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Problem(422, "not_parquet", f"The Parquet file cannot be read: {str(error)[:200]}") from error
    _check_text(table)
    return pa.table({name: _plain(table[name]) for name in table.column_names})


def _check_types(fields: Iterable[pa.Field]) -> None:
    for field in fields:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        is_plain = is_number(kind) or is_text(kind) or pa.types.is_temporal(kind) or pa.types.is_null(kind)
        if not (is_plain or is_vector(kind)):
            raise invalid(
                f"/{field.name[:MAX_NAME]}",
                f"The column {field.name[:64]!r} is of type {str(kind)[:64]}; use numbers, text, times, or lists of "
                "numbers.",
                "wrong_type",
            )


def _check_text(table: pa.Table) -> None:
    """Add up the text of all rows from its distinct values."""
    total = 0
    for column in table.columns:
        is_coded = pa.types.is_dictionary(column.type) and is_text(column.type.value_type)
        for chunk in column.chunks if is_coded else ():
            sizes = pc.fill_null(pc.binary_length(chunk.dictionary), 0)
            total += pc.sum(sizes.take(chunk.indices)).as_py() or 0
    if total > MAX_UNPACKED_TEXT_BYTES:
        raise Problem(
            413,
            "body_too_large",
            f"The text of its rows takes {total >> 20:,} MiB unpacked; "
            f"a reference may have {MAX_UNPACKED_TEXT_BYTES >> 20:,}.",
        )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Undo the dictionary of a column of text, and widen half numbers, of which little can be computed."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    return column.cast(pa.float32()) if pa.types.is_float16(column.type) else column


def _read_csv(path: Path, reading: FileReading | None = None) -> pa.Table:
    written = FileFormat() if reading is None else reading.format
    names = _csv_header(path, written.delimiter)
    if reading is not None:
        names = column_names(names, has_header=written.has_header)
    _check_size(names, 1)
    if _count_quotes(path) % 2:
        raise Problem(
            422, "invalid_csv", "A quote is opened and never closed; the rest of the file would be one cell."
        )
    options = pyarrow.csv.ConvertOptions(
        null_values=MISSING,
        strings_can_be_null=True,
        decimal_point=written.decimal,
        column_types=dict.fromkeys(reading.text_columns() if reading else [], pa.string()),
    )
    rows = pyarrow.csv.ReadOptions()
    if reading is not None:
        rows = pyarrow.csv.ReadOptions(column_names=names, skip_rows=int(written.has_header))
    try:
        table = pyarrow.csv.read_csv(
            path, rows, pyarrow.csv.ParseOptions(delimiter=written.delimiter), options
        )
    except (pa.ArrowException, ValueError) as error:
        raise Problem(422, "invalid_csv", f"The CSV cannot be read: {str(error)[:200]}") from error
    _check_size(table.column_names, table.num_rows)
    for field in table.schema:
        if pa.types.is_binary(field.type):  # what text that cannot be read is taken for
            raise invalid(
                f"/{field.name}",
                f"The column {field.name[:64]!r} is not UTF-8 in every row.",
                "invalid_encoding",
            )
    return table


def _count_quotes(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b'"') for block in iter(lambda: file.read(1 << 20), b""))


def _csv_header(path: Path, delimiter: str) -> list[str]:
    try:
        with path.open("rb") as file:
            return next(csv.reader([file.readline(1 << 20).decode("utf-8-sig")], delimiter=delimiter))
    except (UnicodeDecodeError, csv.Error, StopIteration) as error:
        raise Problem(422, "invalid_header", "The first line must name the columns, in UTF-8.") from error


def _check_size(names: list[str], rows: int) -> None:
    if len(names) > MAX_COLUMNS:
        raise Problem(
            422, "too_many_columns", f"{len(names):,} columns; a reference may have {MAX_COLUMNS:,}."
        )
    if len(set(names)) != len(names) or any(not name.strip() for name in names):
        raise Problem(422, "invalid_header", "Each column needs a name of its own.")
    if any(len(name) > MAX_NAME or "\0" in name for name in names):
        raise Problem(422, "invalid_header", f"A name has up to {MAX_NAME} characters, and no NUL.")
    if rows == 0:
        raise Problem(422, "no_rows", "The file has a header but no rows.")
    if rows * len(names) > MAX_CELLS:
        raise Problem(
            413, "too_many_rows", f"{rows:,} rows of {len(names)} columns; send up to {MAX_CELLS:,} cells."
        )


def _check_cells(found: pq.FileMetaData) -> None:
    """Raise Problem where a file's lists hold more numbers than a reference may have cells, or than a row may."""
    cells = sum(
        found.row_group(group).column(place).num_values
        for group in range(found.num_row_groups)
        for place in range(found.num_columns)
    )
    if cells > MAX_CELLS:
        raise Problem(
            413, "too_many_rows", f"The file holds {cells:,} values; send up to {MAX_CELLS:,}, of fewer rows."
        )
    if fault := oversized_lists(found):
        raise Problem(413, "lists_too_long", fault)


def is_number(kind: pa.DataType) -> bool:
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )
