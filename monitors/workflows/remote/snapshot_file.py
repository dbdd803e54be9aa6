"""The rows that a run hands out, as one file and in parts: written whole or not at all, described as they are now."""

import base64
import hashlib
import shutil
from io import BufferedReader
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from monitors.workflows.context import Evidence, RunContext, run_folder
from monitors.workflows.starting.snapshots import TRAIN
from monitors.workflows.starting.training import read_rows

SNAPSHOT_FILE = "snapshot.parquet"
PARTS_FOLDER = "parts"
DRAFT_FILE = "snapshot.part"
"""What a worker that was killed has left; no file of rows, and erased as a whole."""
PART_ROWS = 250_000
PART_CELLS = 10_000_000
"""A part has fewer rows where a row is wide, so that a part of numbers has at most 80 MB in memory."""


def snapshot_path(run_id: int) -> Path:
    """Return where a run's rows lie for its pipeline; the parts are complete where this file is there."""
    return run_folder(run_id) / SNAPSHOT_FILE


def part_path(run_id: int, number: int) -> Path:
    """Return where one part of a run's rows lies; parts count from 0."""
    return run_folder(run_id) / PARTS_FOLDER / part_name(number)


def part_name(number: int) -> str:
    """Name a part, here and in the snapshot store."""
    return f"part-{number:05}.parquet"


def write_snapshot(context: RunContext) -> Evidence:
    """Write the rows to learn from, a part at a time; return what they are, as the order tells it."""
    path = snapshot_path(context.run.pk)
    parts = path.with_name(PARTS_FOLDER)
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(mode=0o700, parents=True)
    columns = len(context.signature.features) + 2
    batches = read_rows(context, TRAIN, max(1, min(PART_ROWS, PART_CELLS // columns)))
    draft = path.with_name(DRAFT_FILE)
    with pq.ParquetWriter(draft, next(batches).schema) as writer:
        for number, rows in enumerate(batches):
            writer.write_table(rows)
            _write_part(rows, parts / part_name(number))
    draft.replace(path)
    return describe_snapshot(context.run.pk)


def remove_snapshot(run_id: int) -> None:
    """Remove the rows that nobody needs any more."""
    path = snapshot_path(run_id)
    path.unlink(missing_ok=True)
    shutil.rmtree(path.with_name(PARTS_FOLDER), ignore_errors=True)


def describe_snapshot(run_id: int) -> Evidence:
    """Return what a run's files are now: sha256, rows and columns of the whole, sha256 and rows of each part."""
    path = snapshot_path(run_id)
    parts = sorted(path.with_name(PARTS_FOLDER).glob("*.parquet"))
    with pq.ParquetFile(path) as file:
        columns = file.schema_arrow.names
    return {**_facts(path), "columns": columns, "parts": [_facts(part) for part in parts]}


def repr_digest(file: BufferedReader) -> str:
    """Return the digest of an open file as the header `Repr-Digest` has it (RFC 9530), and rewind the file.

    It is that of the bytes which follow, even where the file is replaced meanwhile.
    """
    digest = hashlib.file_digest(file, "sha256").digest()
    file.seek(0)
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def _write_part(rows: pa.Table, path: Path) -> None:
    draft = path.with_name(DRAFT_FILE)
    pq.write_table(rows, draft)
    draft.replace(path)


def _facts(path: Path) -> Evidence:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"sha256": sha256, "rows": pq.read_metadata(path).num_rows}
