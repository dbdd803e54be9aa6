"""Finds out how a file is written: CSV or Parquet, its encoding, delimiter, decimal sign and header."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

type Decimal = Literal[".", ","]

DELIMITERS = (",", ";", "\t", "|")
DELIMITER_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "cp1252", "latin-1")
HEAD_BYTES = 1 << 20  # of a file, that are enough to know how it is written
_ROWS_COMPARED = 200
_MOSTLY = 0.9
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA_NUMBER = re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d+),\d+")
_POINT_NUMBER = re.compile(r"[+-]?\d*\.\d+")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
_OTHER_FORMATS = {
    b"PK\x03\x04": "a zip or Excel file (xlsx); in Excel choose Save as, CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "an Excel file (xls); in Excel choose Save as, CSV UTF-8",
    b"ARROW1": "Arrow IPC; write it as Parquet",
    b"\x1f\x8b": "gzip; unpack it first",
    b"\x28\xb5\x2f\xfd": "zstd; unpack it first",
    b"PARE": "encrypted Parquet; write it without encryption",
}


class UnknownFormat(Exception):
    """The file is of a kind that is not read here; the text says which, and what to do."""


class UnreadableText(Exception):
    """The bytes are not text in the encoding that was chosen; the text says where."""


class FileFormat(Struct, frozen=True):
    """How a file is written. Of Parquet nothing but its kind matters."""

    kind: Literal["csv", "parquet"] = "csv"
    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: Decimal = "."
    has_header: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether it is what every reader takes: Parquet, or a CSV in UTF-8 with commas, points and a header."""
        return self in (FileFormat(), FileFormat(kind="parquet"))


class SniffedFormat(Struct, frozen=True):
    """The format that a file seems to have, and in sentences what is not certain of it."""

    format: FileFormat
    doubts: list[str] = []


def sniff_format(head: bytes) -> SniffedFormat:
    """Return how a file is written from its first bytes; raises UnknownFormat."""
    for magic, what in _OTHER_FORMATS.items():
        if head.startswith(magic):
            raise UnknownFormat(f"This is {what}. CSV and Parquet are read.")
    if head.startswith(b"PAR1"):
        return SniffedFormat(FileFormat(kind="parquet"))
    encoding, doubts = _encoding_of(head)
    text = decode_head(head, encoding)
    lines = text if len(head) < HEAD_BYTES else whole_lines(text)
    delimiter, doubt = _delimiter_of(lines)
    rows = _rows(lines, delimiter)
    decimal, decimal_doubt = _decimal_of(rows[1:], delimiter)
    has_header = _has_header(rows)
    doubts += [one for one in (doubt, decimal_doubt) if one]
    if not has_header:
        doubts.append(
            "The first row holds values and no names: the columns are numbered. If it is a header, say so."
        )
    return SniffedFormat(FileFormat("csv", encoding, delimiter, decimal, has_header), doubts)


def decode_head(head: bytes, encoding: str) -> str:
    """Decode the first bytes of a file without its byte order mark; a character that is cut off at the end is left out.

    Raises UnreadableText.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        return decoder.decode(head).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = head[: error.start].count(b"\n") + 1
        raise UnreadableText(f"Line {line:,} is no text in {encoding}; choose another encoding.") from error


def _encoding_of(head: bytes) -> tuple[str, list[str]]:
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8", []
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le", []
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be", []
    even, odd = head[0:4_000:2].count(0), head[1:4_000:2].count(0)
    half = max(1, len(head[:4_000]) // 2)
    if odd > 0.7 * half and even < 0.1 * half:
        return "utf-16-le", ["It has no mark of its encoding and looks like UTF-16."]
    if even > 0.7 * half and odd < 0.1 * half:
        return "utf-16-be", ["It has no mark of its encoding and looks like UTF-16."]
    for encoding in ("utf-8", "cp1252"):
        try:
            decode_head(head, encoding)
        except UnreadableText:
            continue
        doubt = (
            "It is not in UTF-8 and is read as Windows-1252 (Western European): look at letters with accents."
        )
        return encoding, [] if encoding == "utf-8" else [doubt]
    return "latin-1", ["It is not in UTF-8 and is read as Latin-1: look at letters with accents."]


# -- rows --------------------------------------------------------------------------------------------------------------
def whole_lines(text: str) -> str:
    """Leave out what follows the last line break that is in no quotes: it may be half a row."""
    end = text.rfind("\n")
    quotes = text.count('"', 0, max(end, 0))
    while end > 0 and quotes % 2:
        start = text.rfind("\n", 0, end)
        quotes -= text.count('"', max(start, 0), end)
        end = start
    return text[: end + 1] if end > 0 else text


def _rows(text: str, delimiter: str, max_rows: int = _ROWS_COMPARED) -> list[list[str]]:
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > max_rows:
                break
    except csv.Error:  # the last row of a head may be cut off inside quotes
        pass
    return rows


def _delimiter_of(text: str) -> tuple[str, str]:
    """Choose the delimiter by which most rows have as many cells as the first; ties go to more cells."""
    scores: dict[str, tuple[float, int]] = {}
    for delimiter in DELIMITERS:
        counts = [len(row) for row in _rows(text, delimiter)]
        if not counts or counts[0] < 2:
            continue
        scores[delimiter] = (sum(count == counts[0] for count in counts) / len(counts), counts[0])
    if not scores:
        return ",", ""
    best = max(scores, key=lambda one: (scores[one][0] >= _MOSTLY, scores[one][0] * scores[one][1]))
    if scores[best][0] < _MOSTLY:
        return best, "Its rows differ in the number of their cells: is another delimiter right?"
    rivals = [one for one, (share, _) in scores.items() if one != best and share >= _MOSTLY]
    if rivals:
        names = f"{DELIMITER_NAMES[best]} and by {DELIMITER_NAMES[rivals[0]]}"
        return best, f"Its rows can be parted by {names} alike."
    return best, ""


def _decimal_of(rows: Sequence[Sequence[str]], delimiter: str) -> tuple[Decimal, str]:
    cells = [cell.strip() for row in rows for cell in row if "," in cell or "." in cell]
    with_comma = [cell for cell in cells if _COMMA_NUMBER.fullmatch(cell) or _THOUSANDS.fullmatch(cell)]
    with_point = sum(bool(_POINT_NUMBER.fullmatch(cell)) for cell in cells)
    if len(with_comma) <= with_point:
        mixed = with_comma and with_point and 4 * len(with_comma) > with_point
        return ".", "Some of its numbers have a decimal comma and some a point." if mixed else ""
    if all(_THOUSANDS.fullmatch(cell) for cell in with_comma):
        return ",", f"{with_comma[0]!r} is read as a number with decimals, not as thousands."
    return ",", ""


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    if not rows:
        return True
    first = [cell.strip() for cell in rows[0]]
    numbers = [cell for cell in first if _NUMBER.fullmatch(cell) or _COMMA_NUMBER.fullmatch(cell)]
    is_numbered = first == [str(place) for place in range(len(first))]
    return not numbers or is_numbered or len(rows) == 1


def is_number(text: str, decimal: Decimal = ".") -> bool:
    """Return whether a cell holds a number, with this decimal sign."""
    text = text.strip()
    if decimal == "," and (_COMMA_NUMBER.fullmatch(text) or _THOUSANDS.fullmatch(text)):
        return True
    return bool(_NUMBER.fullmatch(text))


# -- names -------------------------------------------------------------------------------------------------------------
def column_names(header: Sequence[str], *, has_header: bool) -> list[str]:
    """Name each column: one without gets its number, as pandas leaves the index of a table without one."""
    return [
        name if has_header and name.strip() else f"column {place}" for place, name in enumerate(header, 1)
    ]


def repeated_name(names: Sequence[str]) -> str:
    """Return a name that several columns share, or nothing."""
    name, times = Counter(names).most_common(1)[0] if names else ("", 1)
    return name if times > 1 else ""
