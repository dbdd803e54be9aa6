"""Reads files that nobody looks at before they are stored: what is certain of them is found out, the rest refused."""

from collections.abc import Collection
from pathlib import Path

from msgspec.structs import replace

from inference.data_files.columns import ColumnRole, FileReading
from inference.data_files.formats import (
    HEAD_BYTES,
    UnknownFormat,
    UnreadableText,
    sniff_format,
)
from inference.data_files.guesses import KnownModel
from inference.data_files.preview import UnreadableHead, preview, read_head

_LOOK = "upload it for a preview (page Import, or POST /api/v1/models/{model}/files) and choose there"


def reading_as_named(path: Path) -> FileReading | None:
    """Return how to read a file that has the column names of Driftline; None for what any reader takes.

    Raises UnreadableHead where its format is not certain.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    try:
        sniffed = sniff_format(head)
    except (UnknownFormat, UnreadableText):
        return None  # whoever reads it says so
    found = sniffed.format
    if found.kind == "parquet" or (found.delimiter == "," and not found.encoding.startswith("utf-16")):
        return None
    doubts = [doubt for doubt in sniffed.doubts if found.has_header or "first row" not in doubt]
    if doubts:
        raise UnreadableHead("doubtful_format", f"{' '.join(doubts)} {_LOOK[0].upper()}{_LOOK[1:]}.")
    return FileReading(format=replace(found, has_header=True))


def refuse_doubtful_columns(
    path: Path, reading: FileReading | None, known: KnownModel, texts: Collection[str] = ()
) -> None:
    """Raise UnreadableHead where a column that would become a feature looks like an id, or is the only one.

    Each value of `texts` may be unique: these columns are declared as texts.
    """
    chosen = {} if reading is None else {"delimiter": reading.format.delimiter, "has_header": True}
    head = read_head(path, {"has_header": True, **chosen})
    columns = preview(head, known=known).columns
    if len(columns) == 1 and any(mark in columns[0].name for mark in ";\t|,"):
        detail = f"The file has one column, {columns[0].name[:60]!r}; separate its columns by one delimiter."
        raise UnreadableHead("doubtful_format", detail)
    for column in columns:
        is_id = "unique in every row" in " ".join([column.why, *column.warnings])
        if is_id and column.name != ColumnRole.ID and column.name not in texts:
            detail = (
                f"The column {column.name[:60]!r} is unique in every row, as an id is, and would become a feature. "
                f"Name it 'id' or leave it out; if it is a text, say so in the model's text_features; or {_LOOK}."
            )
            raise UnreadableHead("doubtful_columns", detail)
