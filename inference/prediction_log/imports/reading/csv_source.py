"""Reads a CSV in UTF-8, with any delimiter, in blocks of whole rows. The place of each is known to the byte."""

import codecs
import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from driftline.base.errors import Problem
from inference.data_files.formats import FileFormat, column_names
from inference.prediction_log.imports.reading.source import (
    Block,
    FilePosition,
    TornRow,
    UnreadableFile,
    block_rows,
)

BLOCK_BYTES = 8 << 20
MAX_ROW_BYTES = 1 << 20
MISSING = ["", "NA", "NaN", "nan", "null", "NULL", "None"]
_NEWLINE, _QUOTE, _RETURN = b"\n"[0], b'"'[0], b"\r"[0]
_SAMPLE_BYTES = 4 << 20


# -- whole rows --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Rows:
    """Bytes that begin and end with a row; `stops` are the ends of the rows, behind their newlines."""

    content: bytes
    stops: NDArray[np.int64]
    newlines: NDArray[np.int64]
    quotes: NDArray[np.int64]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        return np.concatenate([[0], self.stops[:-1]])

    def first(self, count: int) -> "_Rows":
        """Keep the first rows, and no bytes behind them."""
        stops = self.stops[:count]
        end = int(stops[-1])
        return _Rows(
            self.content[:end],
            stops,
            self.newlines[: np.searchsorted(self.newlines, end)],
            self.quotes[: np.searchsorted(self.quotes, end)],
        )

    def row(self, place: int) -> bytes:
        return self.content[self.starts[place] : self.stops[place]]


def _whole_rows(file: IO[bytes], *, max_rows: int, block_bytes: int = BLOCK_BYTES) -> Iterator[_Rows]:
    """Cut a file into blocks after a newline that is in no quotes."""
    rest = b""
    while True:
        content = rest + file.read(block_bytes - len(rest))
        if not content:
            return
        found = _find_rows(content, is_last=len(content) < block_bytes)
        if not len(found.stops):
            raise UnreadableFile(
                f"A row is longer than {block_bytes >> 20} MiB; is a quote opened and never closed?"
            )
        rows = found.first(max_rows)
        rest = content[len(rows.content) :]
        yield rows


def _find_rows(content: bytes, *, is_last: bool) -> _Rows:
    array = np.frombuffer(content, np.uint8)
    newlines, quotes = np.flatnonzero(array == _NEWLINE), np.flatnonzero(array == _QUOTE)
    stops = newlines + 1
    if len(quotes):
        stops = stops[np.searchsorted(quotes, newlines) % 2 == 0]
    if is_last and content and (not len(stops) or stops[-1] < len(content)):
        stops = np.append(stops, len(content))
    return _Rows(content, stops, newlines, quotes)


# -- the file ----------------------------------------------------------------------------------------------------------
class CsvSource:
    """A CSV, with a header unless its format says otherwise."""

    def __init__(self, path: Path, file_format: FileFormat = FileFormat()) -> None:  # noqa: B008  it is frozen
        self.path, self._format = path, file_format
        self.total = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(MAX_ROW_BYTES)
        skipped = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        found = _find_rows(head[skipped:], is_last=len(head) < MAX_ROW_BYTES)
        if not len(found.stops):
            raise Problem(422, "invalid_header", "The first line must name the columns, within 1 MiB.")
        header = found.row(0)
        first = header if file_format.has_header else b""
        self.start = FilePosition(skipped + len(first), 0, first.count(b"\n"))
        try:
            names = next(self._reader(header.decode()))
        except (UnicodeDecodeError, csv.Error, StopIteration) as error:
            raise Problem(
                422,
                "invalid_header",
                "The first line must name the columns, in UTF-8 and separated by commas.",
            ) from error
        is_as_named = file_format.has_header and file_format.is_plain
        self.names = names if is_as_named else column_names(names, has_header=file_format.has_header)

    def _reader(self, text: str) -> Iterator[list[str]]:
        return csv.reader(io.StringIO(text, newline=""), delimiter=self._format.delimiter)

    def sample(self) -> pa.Table:
        with self.path.open("rb") as file:
            file.seek(self.start.offset)
            rows = next(
                _whole_rows(file, max_rows=block_rows(len(self.names)), block_bytes=_SAMPLE_BYTES), None
            )
        if rows is None:
            return pa.table({name: pa.nulls(0) for name in self.names})
        return self._parse(rows, None)[0]

    def blocks(self, start: FilePosition, types: dict[str, pa.DataType]) -> Iterator[Block]:
        plain = {name: pa.string() for name in self.names}
        with self.path.open("rb") as file:
            file.seek(start.offset)
            for rows in _whole_rows(file, max_rows=block_rows(len(self.names))):
                try:
                    table, torn = self._parse(rows, plain | types)
                except pa.ArrowInvalid:
                    table, torn = self._parse(rows, plain)
                block = self._block(rows, table, torn, start)
                yield block
                start = block.end

    def _parse(
        self, rows: _Rows, types: dict[str, pa.DataType] | None
    ) -> tuple[pa.Table, list[pyarrow.csv.InvalidRow]]:
        torn: list[pyarrow.csv.InvalidRow] = []

        def leave_out(row: pyarrow.csv.InvalidRow) -> str:
            torn.append(row)
            return "skip"

        table = pyarrow.csv.read_csv(
            pa.BufferReader(rows.content),
            pyarrow.csv.ReadOptions(
                column_names=self.names, use_threads=False, block_size=max(len(rows.content), 1)
            ),
            pyarrow.csv.ParseOptions(
                delimiter=self._format.delimiter,
                newlines_in_values=True,
                ignore_empty_lines=False,
                invalid_row_handler=leave_out,
            ),
            pyarrow.csv.ConvertOptions(
                column_types=types,
                null_values=MISSING,
                strings_can_be_null=True,
                check_utf8=True,
                decimal_point=self._format.decimal,
            ),
        )
        return table, torn

    def _block(
        self, rows: _Rows, table: pa.Table, torn: list[pyarrow.csv.InvalidRow], start: FilePosition
    ) -> Block:
        count = len(rows.stops)
        if table.num_rows + len(torn) != count:
            raise UnreadableFile(f"The rows after line {start.lines:,} cannot be told apart.")
        whole = np.ones(count, bool)
        whole[[row.number - 1 for row in torn]] = False
        places = np.flatnonzero(whole)
        is_blank = _are_blank(rows)
        if is_blank.any():
            table, places = table.filter(pa.array(~is_blank[places])), places[~is_blank[places]]
        torn = [row for row in torn if not is_blank[row.number - 1]]
        return Block(
            table=table,
            places=places,
            torn=[TornRow(row.number - 1, self._explain(row)) for row in torn],
            start=start,
            end=FilePosition(
                start.offset + len(rows.content), start.rows + count, start.lines + len(rows.newlines)
            ),
            lines=start.lines + 1 + np.searchsorted(rows.newlines, rows.starts),
            cells_of=lambda place: next(self._reader(rows.row(place).decode("utf-8", "replace")), []),
        )

    def _explain(self, row: pyarrow.csv.InvalidRow) -> str:
        return f"The row has {row.actual_columns:,} cells, and the header names {row.expected_columns:,} columns."


def _are_blank(rows: _Rows) -> NDArray[np.bool_]:
    short = np.flatnonzero(rows.stops - rows.starts <= 2)
    blank = np.zeros(len(rows.stops), bool)
    blank[short] = [not rows.row(int(place)).strip(b"\r\n") for place in short]
    return blank


# -- what must hold before a row is imported ---------------------------------------------------------------------------
def examine_csv(path: Path, delimiter: str = ",") -> int:
    """Read the whole file once and count its rows, the header included; raises Problem with the line of a fault.

    After this every newline outside of quotes ends a row: a quote in an unquoted cell, where readers differ in what
    they make of it, is refused.
    """
    count = lines = 0
    with path.open("rb") as file:
        if file.read(3) != codecs.BOM_UTF8:
            file.seek(0)
        try:
            for rows in _whole_rows(file, max_rows=1 << 62, block_bytes=4 << 20):
                _check_rows(rows, lines, delimiter)
                count, lines = count + len(rows.stops), lines + len(rows.newlines)
        except UnreadableFile as error:
            raise Problem(422, "invalid_csv", f"After line {lines:,}: {error}") from error
    return count


def _check_rows(rows: _Rows, lines: int, delimiter: str) -> None:
    def line(offset: int) -> str:
        return f"Line {lines + 1 + int(np.searchsorted(rows.newlines, offset)):,}"

    if not rows.content.isascii():
        try:
            rows.content.decode()
        except UnicodeDecodeError as error:
            detail = f"{line(error.start)} is not UTF-8; save the file as CSV in UTF-8."
            raise Problem(422, "invalid_encoding", detail) from error
    longest = int(np.argmax(rows.stops - rows.starts))
    if rows.stops[longest] - rows.starts[longest] > MAX_ROW_BYTES:
        detail = f"{line(rows.starts[longest])} begins a row of more than 1 MiB; is a quote opened and never closed?"
        raise Problem(422, "row_too_large", detail)
    if (at := _misplaced_quote(rows, delimiter.encode()[0])) is not None:
        detail = f"{line(at)} has a quote inside a cell; put the cell in quotes and double those in it."
        raise Problem(422, "invalid_csv", detail)
    if (at := _bare_return(rows)) is not None:
        raise Problem(
            422, "invalid_csv", f"{line(at)} holds a bare carriage return; end lines with LF or CR LF."
        )


def _misplaced_quote(rows: _Rows, delimiter: int) -> int | None:
    if not len(rows.quotes):
        return None
    if len(rows.quotes) % 2:
        return int(rows.quotes[-1])
    content = np.frombuffer(rows.content, np.uint8)
    around = np.concatenate([[_NEWLINE], content, [_NEWLINE]])
    before, after = around[rows.quotes[0::2]], around[rows.quotes[1::2] + 2]
    wrong = np.concatenate(
        [
            rows.quotes[0::2][~np.isin(before, (delimiter, _NEWLINE, _QUOTE))],
            rows.quotes[1::2][~np.isin(after, (delimiter, _NEWLINE, _RETURN, _QUOTE))],
        ]
    )
    return int(wrong.min()) if len(wrong) else None


def _bare_return(rows: _Rows) -> int | None:
    if rows.content.count(b"\r") == rows.content.count(b"\r\n"):
        return None
    content = np.frombuffer(rows.content + b"\n", np.uint8)
    returns = np.flatnonzero(content == _RETURN)
    bare = returns[content[returns + 1] != _NEWLINE]
    outside = bare[np.searchsorted(rows.quotes, bare) % 2 == 0]
    return int(outside[0]) if len(outside) else None
