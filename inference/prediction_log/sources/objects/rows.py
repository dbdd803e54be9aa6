"""Reads the rows of an object one after the other, in bounded memory, however it is made."""

import csv
import gzip
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import msgspec

from inference.prediction_log.imports.reading.csv_source import MISSING
from inference.prediction_log.sources.objects.parquet_rows import read_parquet
from inference.prediction_log.sources.objects.settings import ObjectsSettings
from inference.prediction_log.sources.reading.messages import Fault

MAX_LINE_BYTES = 1 << 20
MAX_ROW_BYTES = 4 << 20
"""Of a row of CSV: its quoted cells may hold many lines."""
MAX_UNPACKED_TIMES = 100
MIN_UNPACKED_LIMIT = 64 << 20
"""A packed file may unpack to a hundred times its size, and to so many bytes in any case."""
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True)
class Row:
    """A row as JSON, or as it came with what is wrong with it; of CSV every cell is text."""

    value: bytes
    fault: Fault | None = None
    has_text_cells: bool = False


class BrokenObject(Exception):
    """The object cannot be read on; the text says why."""


class OutOfTime(Exception):
    """The deadline has passed."""


def read_rows(
    file: IO[bytes], path: str, settings: ObjectsSettings, *, start: int, deadline: float = float("inf")
) -> Iterator[Row]:
    """Yield the rows of an object from the row `start` on, until the deadline, a time of `time.monotonic`.

    Raises BrokenObject and OutOfTime.
    """
    name = settings.format_of(path)
    try:
        if name == "parquet":
            for value, reason in read_parquet(file, start):
                _check(deadline)
                yield Row(
                    value, Fault("malformed_row", f"The row cannot be read: {reason}.") if reason else None
                )
            return
        lines = _packed_lines(file, deadline) if path.lower().endswith(".gz") else _Lines(file, deadline)
        rows = _read_csv(lines, settings.delimiter) if name == "csv" else _read_ndjson(lines)
        for number, row in enumerate(rows):
            if number >= start:
                yield row
    except Exception as error:  # a file of others may fail in any way, and must not stop the others
        if isinstance(error, MemoryError | OutOfTime) or (
            isinstance(error, OSError) and error.errno is not None
        ):
            raise  # no fault of the file
        raise BrokenObject(f"{path} cannot be read as {name}: {str(error)[:200]}") from error


def _check(deadline: float) -> None:
    if time.monotonic() >= deadline:
        raise OutOfTime


def _packed_lines(file: IO[bytes], deadline: float) -> "_Lines":
    limit = max(MIN_UNPACKED_LIMIT, MAX_UNPACKED_TIMES * file.seek(0, os.SEEK_END))
    file.seek(0)
    return _Lines(gzip.GzipFile(fileobj=file, mode="rb"), deadline, limit)


class _Lines:
    """The lines of a file, each cut after `MAX_LINE_BYTES`; `was_cut` tells of those since `begin_row`."""

    def __init__(
        self, file: IO[bytes] | gzip.GzipFile, deadline: float, max_bytes: float = float("inf")
    ) -> None:
        self._file, self._deadline = file, deadline
        self._max_bytes = self._bytes_left = max_bytes
        self._row_bytes = 0
        self.was_cut = False

    def begin_row(self) -> None:
        self.was_cut, self._row_bytes = False, 0

    def _read(self) -> bytes:
        _check(self._deadline)
        line = self._file.readline(MAX_LINE_BYTES)
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise ValueError(f"it unpacks to more than {self._max_bytes:,} bytes")
        return line

    def __iter__(self) -> Iterator[bytes]:
        while line := self._read():
            self._row_bytes += len(line)
            if self._row_bytes > MAX_ROW_BYTES:
                raise ValueError(f"a row has more than {MAX_ROW_BYTES:,} bytes; is a quote never closed?")
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                self.was_cut = self._skip_rest() or self.was_cut
            yield line

    def _skip_rest(self) -> bool:
        """Pass the rest of a line; returns whether there was any."""
        is_longer = False
        while rest := self._read():
            is_longer = is_longer or rest not in (b"\n", b"\r\n")
            if rest.endswith(b"\n"):
                break
        return is_longer


def _read_ndjson(lines: _Lines) -> Iterator[Row]:
    for line in lines:
        if text := line.removeprefix(b"\xef\xbb\xbf").strip():
            yield Row(text, _too_long() if lines.was_cut else None)
        lines.begin_row()


def _read_csv(lines: _Lines, delimiter: str) -> Iterator[Row]:
    text = (line.decode(errors="surrogateescape") for line in lines)
    reader = csv.reader(text, delimiter=delimiter)
    names = [name.removeprefix("\ufeff").strip() for name in next(reader, [])]
    try:
        "".join(names).encode()
    except UnicodeEncodeError as error:
        raise ValueError("its first line is not in UTF-8; write the file in UTF-8") from error
    if not all(names) or len(set(names)) < len(names):
        raise ValueError("the first line must name every column, each once")
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(b"", Fault("malformed_row", f"The row cannot be read as CSV: {error}."))
            continue
        if cells:
            yield _csv_row(names, cells, is_cut=lines.was_cut)


def _csv_row(names: list[str], cells: list[str], *, is_cut: bool) -> Row:
    try:
        given = (None if cell in MISSING else cell for cell in cells)
        value = _encoder.encode(dict(zip(names, given, strict=False)))
    except UnicodeEncodeError:
        value = ",".join(cells).encode(errors="surrogateescape")
        return Row(value, Fault("malformed_row", "The row is not in UTF-8."))
    if is_cut:
        return Row(value, _too_long())
    if len(cells) != len(names):
        detail = f"The row has {len(cells):,} cells, and the header {len(names):,}."
        return Row(_encoder.encode(cells), Fault("malformed_row", detail))
    return Row(value, has_text_cells=True)


def _too_long() -> Fault:
    return Fault("malformed_row", f"The line is longer than {MAX_LINE_BYTES:,} bytes, so it was cut.")
