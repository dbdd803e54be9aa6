"""Reads the first rows of a file and shows them as they will be stored, with the guesses that led there."""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from msgspec import Struct
from msgspec.structs import replace

from inference.data_files.arrow_types import is_text
from inference.data_files.columns import (
    TIMES,
    USED,
    ColumnRole,
    FileKind,
    FileReading,
    WrongReading,
    check_reading,
    rewrite,
)
from inference.data_files.formats import (
    HEAD_BYTES,
    FileFormat,
    SniffedFormat,
    UnknownFormat,
    UnreadableText,
    column_names,
    decode_head,
    repeated_name,
    sniff_format,
    whole_lines,
)
from inference.data_files.guesses import (
    ColumnFacts,
    ColumnGuess,
    ColumnSample,
    KnownModel,
    guess_columns,
    guess_kind,
    warnings_of,
)
from inference.data_files.scored_class import class_texts, find_scored_class, with_type
from inference.data_files.times import MOMENT, time_zones
from inference.data_files.vectors import is_vector
from inference.vector_names import whole_of

SHOWN_ROWS = 20
MAX_COLUMNS = 5_000
MAX_NAME = 200
MISSING = ["", "NA", "NaN", "nan", "null", "NULL", "None"]
_HEAD_ROWS = 2_000
_HEAD_CELLS = 500_000
_HEAD_UNPACKED_BYTES = 64 << 20
_MAX_TEXT = 1_000  # characters of a text that are looked at
_BUFFER = 64 << 10
_BLOCK = 1 << 20
_MAX_CELL = 200
_MANY_MISSING = 0.5  # of a model's features, from which on a file is rather another model's


class UnreadableHead(Exception):
    """The first rows cannot be read: a stable code, and a sentence that says what to do."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class FileHead(Struct, frozen=True):
    """The first rows of a file, all of its cells as text."""

    format: FileFormat
    doubts: list[str]
    table: pa.Table
    nested: list[str] = []
    vectors: dict[str, bool] = {}
    """Columns of lists of numbers, and whether these may list anything; the table holds none of their values."""


class Preview(Struct, frozen=True):
    """What a file will be stored as, if it is read so."""

    kind: FileKind
    reading: FileReading
    columns: list[ColumnGuess]
    warnings: list[str]
    stored_names: list[str]
    rows: list[list[str | None]]
    classes: list[str] = []
    """The classes that its probability may be of, where that can be chosen."""
    positive_class: str | None = None
    """The one that it seems to be of."""


# -- the first rows ----------------------------------------------------------------------------------------------------
def read_head(path: Path, chosen: Mapping[str, object] | None = None) -> FileHead:
    """Read the first rows; of the format what is `chosen` holds, and the rest is found out. Raises UnreadableHead."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise UnreadableHead("no_rows", "The file is empty; send a header and rows.")
    try:
        sniffed = sniff_format(head)
        if chosen and sniffed.format.kind == "csv":
            sniffed = _as_chosen(head, sniffed, chosen)
        if sniffed.format.kind == "parquet":
            return _parquet_head(path, sniffed)
        return _csv_head(head, sniffed)
    except UnknownFormat as error:
        raise UnreadableHead("unsupported_media_type", str(error)) from error
    except UnreadableText as error:
        raise UnreadableHead("invalid_encoding", str(error)) from error
    except (pa.ArrowException, csv.Error, ValueError, OSError) as error:
        raise UnreadableHead("invalid_file", f"The file cannot be read: {str(error)[:200]}") from error


def _as_chosen(head: bytes, sniffed: SniffedFormat, chosen: Mapping[str, object]) -> SniffedFormat:
    """Put what a person chose over what was found out, and look at the rest with that."""
    encoding = str(chosen.get("encoding") or sniffed.format.encoding)
    if encoding != sniffed.format.encoding:
        sniffed = sniff_format(decode_head(head, encoding).encode())
    return SniffedFormat(replace(sniffed.format, **(dict(chosen) | {"encoding": encoding})), sniffed.doubts)


def _csv_head(head: bytes, sniffed: SniffedFormat) -> FileHead:
    found = sniffed.format
    is_whole = len(head) < HEAD_BYTES
    text = decode_head(head, found.encoding)
    text = text if is_whole else whole_lines(text)
    header = next(_rows_of(text, found.delimiter), [])
    if not header and text.strip():
        detail = "The first line is empty; begin the file with the line that names the columns."
        raise UnreadableHead("invalid_header", detail)
    names = column_names(header, has_header=found.has_header)
    check_names(names)
    torn = 0

    def leave_out(_: pyarrow.csv.InvalidRow) -> str:
        nonlocal torn
        torn += 1
        return "skip"

    table = pyarrow.csv.read_csv(
        pa.BufferReader(text.encode()),
        pyarrow.csv.ReadOptions(
            column_names=names, skip_rows=0, use_threads=False, block_size=max(len(text.encode()), 1)
        ),
        pyarrow.csv.ParseOptions(
            delimiter=found.delimiter, newlines_in_values=True, invalid_row_handler=leave_out
        ),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=MISSING, strings_can_be_null=True
        ),
    )
    table = table.slice(1 if found.has_header else 0)
    doubts = list(sniffed.doubts)
    if torn:
        doubts.append(
            f"{torn:,} of the first rows have another number of cells than the header; they are refused."
        )
    if not table.num_rows and not is_whole:
        detail = f"A row is longer than {HEAD_BYTES >> 20} MiB; is a quote opened and never closed?"
        raise UnreadableHead("row_too_large", detail)
    if not table.num_rows:
        raise UnreadableHead("no_rows", "The file has columns but no rows; send a header and rows.")
    return FileHead(found, doubts, table)


def _rows_of(text: str, delimiter: str) -> Iterator[list[str]]:
    return iter(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _parquet_head(path: Path, sniffed: SniffedFormat) -> FileHead:
    schema = pq.read_schema(path)
    check_names(schema.names)
    vectors = {field.name: _may_list_anything(field.type) for field in schema if is_vector(field.type)}
    nested = [field.name for field in schema if not _is_flat(field.type) and not is_vector(field.type)]
    flat = [field.name for field in schema if _is_flat(field.type)]
    text = [field.name for field in schema if pa.types.is_string(field.type)]
    file = pq.ParquetFile(path, read_dictionary=text, buffer_size=_BUFFER, pre_buffer=False)
    max_rows = _rows_to_look_at(file)
    batch = next(file.iter_batches(batch_size=max_rows, columns=flat, use_threads=False), None)
    if batch is None or not batch.num_rows:
        raise UnreadableHead("no_rows", "The file has columns but no rows.")
    found = {name: _as_text(column) for name, column in zip(flat, batch.columns, strict=True)}
    missing = pa.nulls(batch.num_rows, pa.string())
    table = pa.table({name: found.get(name, missing) for name in schema.names})
    return FileHead(sniffed.format, list(sniffed.doubts), table, nested, vectors)


def _may_list_anything(kind: pa.DataType) -> bool:
    """Return whether a column of vectors may be none by its type: whole numbers in lists of any length."""
    return not pa.types.is_fixed_size_list(kind) and pa.types.is_integer(kind.value_type)


def _rows_to_look_at(file: pq.ParquetFile) -> int:
    """Return how many rows to read of a file that may be small and hold very much: fewer of wide or large ones."""
    facts = file.metadata
    groups = (facts.row_group(place) for place in range(facts.num_row_groups))
    first = next((group for group in groups if group.num_rows), None)
    row_bytes = 1 if first is None else first.total_byte_size // first.num_rows + 1
    rows = min(_HEAD_ROWS, _HEAD_CELLS // max(facts.num_columns, 1), _HEAD_UNPACKED_BYTES // row_bytes)
    return max(rows, SHOWN_ROWS)


def _is_flat(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    kinds = pa.types
    return bool(
        kinds.is_integer(kind)
        or kinds.is_floating(kind)
        or kinds.is_boolean(kind)
        or kinds.is_decimal(kind)
        or kinds.is_temporal(kind)
        or kinds.is_null(kind)
        or is_text(kind)
    )


def _as_text(column: pa.Array) -> pa.Array:
    """Write values as a CSV would have them."""
    if pa.types.is_dictionary(column.type):
        short = _shortened(
            column.dictionary
        )  # before each row has its own: a small file may repeat a large text
        column = pa.DictionaryArray.from_arrays(column.indices, short).dictionary_decode()
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.string())
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        moments = _values(column.cast(MOMENT, safe=False))  # a zone may be one that Python does not know
        texts = [one.isoformat() if isinstance(one, datetime) else one for one in moments]
        return pa.array(texts, pa.string())
    return _shortened(column.cast(pa.string()))


def _shortened(column: pa.Array) -> pa.Array:
    if not is_text(column.type):
        return column
    return pc.utf8_slice_codeunits(column, 0, _MAX_TEXT)


def check_names(names: list[str]) -> None:
    """Raise UnreadableHead where two columns have one name, or there are too many."""
    if len(names) > MAX_COLUMNS:
        raise UnreadableHead(
            "too_many_columns",
            f"The file has {len(names):,} columns; {MAX_COLUMNS:,} can be read. Leave out those that nobody needs.",
        )
    if name := repeated_name(names):
        detail = (
            f"{names.count(name)} columns are named {name[:100]!r}; rename them, each needs its own name."
        )
        raise UnreadableHead("duplicate_column", detail)
    if wrong := next((name for name in names if len(name) > MAX_NAME or "\0" in name), None):
        detail = f"The name {wrong[:60]!r}… is too long or holds a NUL; use up to {MAX_NAME} characters."
        raise UnreadableHead("invalid_header", detail)


# -- what will be stored -----------------------------------------------------------------------------------------------
def preview(
    head: FileHead,
    *,
    known: KnownModel,
    kind: FileKind | None = None,
    roles: Mapping[str, ColumnRole] | None = None,
    remembered: Mapping[str, ColumnRole] | None = None,
    time_zone: str = "",
    date_order: str = "",
) -> Preview:
    """Show the first rows as they will be stored; where no role is chosen, the guess holds.

    Raises WrongReading where a role is chosen for a column that the file lacks, and for a zone that is none.
    """
    nested, vectors = frozenset(head.nested), head.vectors
    samples = [
        ColumnSample(name, column.to_pylist(), name in nested, name in vectors, vectors.get(name, False))
        for name, column in zip(head.table.column_names, head.table.columns, strict=True)
    ]
    guesses = guess_columns(samples, known=known, decimal=head.format.decimal, remembered=remembered)
    if time_zone and time_zone not in time_zones():
        raise WrongReading(
            "unknown_time_zone",
            f"{time_zone[:64]!r} is no time zone; use a name such as Europe/Berlin, or UTC.",
        )
    if roles:
        _refuse_unknown(roles, head.table.column_names)
        _choose(guesses, roles, samples, known, head.format)
    kind = kind or guess_kind(guesses, known)
    reading = reading_of(head.format, guesses, time_zone=time_zone, date_order=date_order)
    stored = rewrite(head.table.slice(0, SHOWN_ROWS), reading_for(reading, kind))
    classes, positive_class = _classes(head.table, reading, known, kind)
    warnings = [*head.doubts, *_warnings(head, guesses, known, kind)]
    try:
        check_reading(reading_for(reading, kind), kind, head.table.column_names)
    except WrongReading as wrong:
        warnings.append(wrong.detail)
    if classes and known.positive_class not in (None, positive_class):
        warnings.append(
            f"So far {known.positive_class!r} is the positive class; the probabilities of this file seem to be of "
            f"{positive_class!r}."
        )
    rows = list(_shown(stored))
    return Preview(kind, reading, guesses, warnings, stored.column_names, rows, classes, positive_class)


def _classes(
    table: pa.Table, reading: FileReading, known: KnownModel, kind: FileKind
) -> tuple[list[str], str | None]:
    """Return the classes that a reference's probability may be of, and the one that its rows show it to be of."""
    if kind != FileKind.REFERENCE or known.task != "binary" or known.has_all_features:
        return [], None
    roles = (ColumnRole.PREDICTION, ColumnRole.LABEL)
    names = [
        name for name, role in reading.columns.items() if role in roles or role == ColumnRole.PROBABILITY
    ]
    stored = rewrite(table.select(names), reading)
    if ColumnRole.PROBABILITY not in stored.column_names:
        return [], None
    outcomes = [class_texts(with_type(stored[role])) for role in roles if role in stored.column_names]
    probabilities = with_type(stored[ColumnRole.PROBABILITY])
    scored = find_scored_class(outcomes, probabilities) if pa.types.is_floating(probabilities.type) else None
    seen = {text for column in outcomes for text in pc.unique(column).to_pylist() if text is not None}
    return sorted(seen.union(known.classes)), scored or known.positive_class


def _refuse_unknown(roles: Mapping[str, ColumnRole], names: list[str]) -> None:
    known = frozenset(names)
    for name in roles:
        if name not in known:
            check_reading(FileReading(columns={name: ColumnRole.IGNORED}), FileKind.LABELS, names)


def _choose(
    guesses: list[ColumnGuess],
    roles: Mapping[str, ColumnRole],
    samples: list[ColumnSample],
    known: KnownModel,
    file_format: FileFormat,
) -> None:
    """Put the roles that a person chose over the guesses, and look at all columns again."""
    facts = [ColumnFacts(sample, file_format.decimal) for sample in samples]
    for guess in guesses:
        if roles.get(guess.name, guess.role) != guess.role:
            guess.role, guess.why = roles[guess.name], "Chosen here."
    labels = [one for guess, one in zip(guesses, facts, strict=True) if guess.role == ColumnRole.LABEL]
    for guess, one in zip(guesses, facts, strict=True):
        guess.warnings = warnings_of(guess.role, one, labels, known)
        guess.times = one.times if guess.role in TIMES else None


def reading_of(
    file_format: FileFormat, guesses: list[ColumnGuess], *, time_zone: str = "", date_order: str = ""
) -> FileReading:
    """Put guesses together to a reading; times without a zone are of UTC unless another is chosen."""
    orders = [guess.times.date_order for guess in guesses if guess.times and guess.times.date_order]
    return FileReading(
        format=file_format,
        columns={guess.name: guess.role for guess in guesses},
        time_zone=time_zone or "UTC",
        date_order=date_order or (orders[0] if orders else None),  # type: ignore[arg-type]
    )


def reading_for(reading: FileReading, kind: FileKind) -> FileReading:
    """Leave out the columns that a file of this kind does not store; in one of labels their time is the timestamp."""
    columns = dict(reading.columns)
    if kind == FileKind.LABELS and ColumnRole.LABEL_TIMESTAMP in columns.values():
        for name, role in columns.items():
            if role == ColumnRole.TIMESTAMP:
                columns[name] = ColumnRole.IGNORED
            elif role == ColumnRole.LABEL_TIMESTAMP:
                columns[name] = ColumnRole.TIMESTAMP
    used = USED[kind]
    return replace(
        reading,
        columns={name: role if role in used else ColumnRole.IGNORED for name, role in columns.items()},
    )


def _warnings(head: FileHead, guesses: list[ColumnGuess], known: KnownModel, kind: FileKind) -> Iterator[str]:
    if len(guesses) == 1:
        name = guesses[0].name
        yield f"The file has one column, {name[:60]!r}: if it should have more, choose another delimiter."
    features = {guess.name for guess in guesses if guess.role == ColumnRole.FEATURE}
    if known.features and kind != FileKind.LABELS:
        vectors = whole_of(known.features)  # which a file has as one column, or as its numbers
        declared = {vectors.get(name, name) for name in known.features if name not in features}
        missing = sorted(declared - features)
        if len(missing) > _MANY_MISSING * len(known.features):
            yield (
                f"{len(missing):,} of the {len(known.features):,} features that the model declares are not among its "
                f"columns, such as {missing[0]!r}: is the file another model's?"
            )
        elif missing:
            yield f"The model declares features that the file has not: {', '.join(missing[:5])}."
    if kind == FileKind.REFERENCE and ColumnRole.LABEL not in {guess.role for guess in guesses}:
        yield "No column is the label: with one, a reference gives performance its limits."


def _shown(table: pa.Table) -> Iterator[list[str | None]]:
    for row in zip(*(_values(column) for column in table.columns), strict=True):
        yield [None if value is None else _cell(value) for value in row]


def _values(column: pa.Array | pa.ChunkedArray) -> list[object]:
    """Return a column's values; times as text where one is of a year that Python does not know, such as 0 or 10000."""
    try:
        values: list[object] = column.to_pylist()
    except (OverflowError, ValueError):
        texts = column.cast(pa.string()).to_pylist()
        values = [None if text is None else text.replace(" ", "T") for text in texts]
    return values


def _cell(value: object) -> str:
    text = value.isoformat().replace("+00:00", "Z") if hasattr(value, "isoformat") else str(value)
    return text if len(text) <= _MAX_CELL else f"{text[:_MAX_CELL]}…"


# -- other encodings ---------------------------------------------------------------------------------------------------
def transcode(source: IO[bytes], target: IO[bytes], encoding: str) -> None:
    """Write a text in UTF-8, piece by piece and without a byte order mark; raises UnreadableText."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line, is_first = 1, True
    while True:
        piece = source.read(_BLOCK)
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise UnreadableText(
                f"About line {line:,} it is no text in {encoding}; choose another encoding."
            ) from error
        if is_first:
            text, is_first = text.removeprefix("\ufeff"), False
        line += text.count("\n")
        target.write(text.encode())
        if not piece:
            return
