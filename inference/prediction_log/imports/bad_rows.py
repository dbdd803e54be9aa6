"""The file of an import's bad rows: where each is, why it was refused, and its cells, to be mended and sent again.

It grows at the length that the import's row knows, in the transaction that moves the import on: what a killed
process wrote behind that is overwritten.
"""

import io
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from django.conf import settings

from driftline.base.errors import Problem
from driftline.base.http.exports import write_csv
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.reading.cells import RowFault
from inference.prediction_log.imports.reading.layout import OWN_PREFIX
from inference.prediction_log.imports.reading.source import Block
from inference.prediction_log.spool.privacy import KEEP
from inference.registry.selectors import privacy_of

COLUMNS = [OWN_PREFIX + name for name in ("row", "line", "column", "code", "reason")]
MAX_ROWS = 100_000
MAX_BYTES = 256 << 20
KEPT_FOR = timedelta(days=30)
HIDDEN = "(not kept)"  # a feature that the model hashes or drops
_MAX_CELL = 1_000


def path_of(job: Import) -> Path:
    """Return where an import's bad rows lie."""
    return folder() / f"{job.pk}-bad-rows.csv"


def open_bad_rows(job: Import) -> BinaryIO:
    """Open an import's bad rows for reading; what lies behind the length in its row was not committed."""
    if not job.bad_bytes:
        raise Problem(404, "no_bad_rows", f"{str(job).capitalize()} has refused no row so far.")
    try:
        return path_of(job).open("rb")
    except FileNotFoundError as error:
        detail = f"Bad rows are kept for {KEPT_FOR.days} days; import the file again to get them anew."
        raise Problem(410, "bad_rows_expired", detail) from error


def folder() -> Path:
    """Return the folder of uploads and bad rows."""
    found: Path = settings.HOME / "imports"
    found.mkdir(parents=True, exist_ok=True, mode=0o700)
    return found


def add_bad_rows(job: Import, block: Block, faults: Mapping[int, RowFault], names: list[str]) -> None:
    """Add a block's bad rows, by their places, until the file is full; the import's row counts all of them."""
    job.rejected += len(faults)
    if not faults or job.bad_rows >= MAX_ROWS or job.bad_bytes >= MAX_BYTES:
        return
    hidden = _hidden(job, names)
    kept = sorted(faults)[: MAX_ROWS - job.bad_rows]
    text = io.StringIO()
    head = [] if job.bad_bytes else [[*COLUMNS, *names]]
    lines = [_line(block, place, faults[place], hidden) for place in kept]
    write_csv(text, [*head, *lines], line_end="\n")
    job.bad_rows += len(kept)
    job.bad_bytes = _write(path_of(job), job.bad_bytes, text.getvalue().encode())


def _hidden(job: Import, names: list[str]) -> dict[int, str]:
    """Return which columns may not be kept as they were sent, by their places in the file."""
    privacy = privacy_of(job.model_id)
    return {place: name for place, name in enumerate(names) if privacy.of(name) != KEEP}


def _line(block: Block, place: int, fault: RowFault, hidden: Mapping[int, str]) -> list[str]:
    line = "" if block.lines is None else str(block.lines[place])
    cells = [
        HIDDEN if column in hidden and text else text[:_MAX_CELL]
        for column, text in enumerate(block.cells_of(place))
    ]
    is_hidden = fault.column in hidden.values()
    return [
        str(block.start.rows + place + 1),
        line,
        fault.column[:_MAX_CELL],
        fault.code,
        f"The value is not kept: {fault.code}." if is_hidden else fault.detail[:_MAX_CELL],
        *cells,
    ]


def _write(path: Path, length: int, content: bytes) -> int:
    with path.open("r+b" if length else "wb") as file:
        file.seek(length)
        file.truncate()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return length + len(content)
