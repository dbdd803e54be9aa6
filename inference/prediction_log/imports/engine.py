"""Brings a file into the log: a block's rows, its bad rows and the position behind it are one commit."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from django.conf import settings

from driftline.base.clock import now
from driftline.base.work.leased_work import WorkLease
from inference.prediction_log.imports.bad_rows import add_bad_rows
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.reading.cells import Refusals, RowFault
from inference.prediction_log.imports.reading.formats import open_source, reading_of
from inference.prediction_log.imports.reading.layout import FileLayout
from inference.prediction_log.imports.reading.predictions import (
    Reading,
    read_ids,
    read_labels,
    read_predictions,
)
from inference.prediction_log.imports.reading.source import (
    Block,
    FilePosition,
    RowSource,
    UnreadableFile,
)
from inference.prediction_log.imports.row_list import ImportedRows, add_rows
from inference.prediction_log.ingest.arrival import in_arrival_week
from inference.prediction_log.ingest.store import log_predictions
from inference.prediction_log.items import BatchResult, ItemFault
from inference.prediction_log.labels import services as label_log
from inference.prediction_log.models import PredictionRole
from inference.prediction_log.rows.sent_columns import PredictionBatch, SentColumns

MEMORY_BUDGET = 1 << 30  # bytes of data that reading one file may add to a process


@dataclass
class BlockOutcome:
    """What became of a block's rows; faults by the row's index in the block's table."""

    accepted: int = 0
    duplicates: int = 0
    labels: int = 0
    faults: dict[int, RowFault] = field(default_factory=dict)


def import_blocks(lease: WorkLease[Import], *, stop: Callable[[Import], bool]) -> Import:
    """Import block after block until the file ends or `stop` says so; raises UnreadableFile or LeaseLost."""
    job = lease.read()
    source = open_source(settings.HOME / job.path, job.format, reading_of(job))
    position = FilePosition(job.offset, job.rows, job.lines) if job.offset else source.start
    layout = msgspec.convert(job.layout, FileLayout)
    with bounded_memory(MEMORY_BUDGET):
        for block in source.blocks(position, layout.types(job.model.task)):
            with lease.fenced() as job:
                _import_block(job, block, layout, source)
            if stop(job):
                return job
        lease.finish(Import.State.DONE)
        job.refresh_from_db()
        return job


def _import_block(job: Import, block: Block, layout: FileLayout, source: RowSource) -> None:
    reading = Reading(layout, job.model.task, job.version, job.sha256, now())
    store = _store_labels if job.kind == Import.Kind.LABELS else _store_predictions
    outcome = store(job, block, reading)
    places = block.places.tolist()
    faults = {places[row]: fault for row, fault in outcome.faults.items()}
    faults |= {torn.place: RowFault("", "wrong_number_of_cells", torn.detail) for torn in block.torn}
    add_bad_rows(job, block, faults, source.names)
    job.accepted += outcome.accepted
    job.duplicates += outcome.duplicates
    job.labels += outcome.labels
    job.offset, job.rows, job.lines = block.end.offset, block.end.rows, block.end.lines
    job.attempts = 1  # what follows this block is new work
    job.started_at = job.started_at or reading.now
    job.save(update_fields=_MOVING)


_MOVING = (
    "accepted",
    "attempts",
    "bad_bytes",
    "bad_rows",
    "duplicates",
    "labels",
    "lines",
    "offset",
    "rejected",
    "row_bytes",
    "rows",
    "started_at",
)


def _store_predictions(job: Import, block: Block, reading: Reading) -> BlockOutcome:
    rows = read_predictions(block, reading)
    outcome = BlockOutcome(faults=dict(rows.refusals.faults))
    if not len(rows.columns):
        return outcome
    if rows.labels:
        _lock_labels(job.model_id)
    result = log_predictions(model=job.model, batch=PredictionBatch(rows.columns), now=reading.now)
    outcome.accepted, outcome.duplicates = result.accepted, result.duplicates
    _note_rows(job, rows.columns, result)
    refused = _faults_of(result)
    outcome.faults |= refused
    ids = {found.id for found in result.results if found.index in refused}
    labels = [label for label in rows.labels if label.id not in ids] if ids else rows.labels
    if labels:
        logged = label_log.log_labels(model=job.model, items=labels, source=job.source, now=reading.now)
        outcome.labels = logged.accepted
    return outcome


def _note_rows(job: Import, columns: SentColumns, result: BatchResult) -> None:
    """Note which rows are new by this import, so that it can be undone."""
    new = [item.index for item in result.results if item.status == "accepted"]
    rows = columns.take(np.isin(columns.places, new))
    is_shadow = rows.roles == PredictionRole.SHADOW
    shadows = np.where(is_shadow, rows.versions, "").tolist() if is_shadow.any() else []
    add_rows(job, ImportedRows(rows.ids.tolist(), rows.times_us.tolist(), shadows))


def _lock_labels(model_id: int) -> None:
    """Take the lock of the labels before the log shares it: two who want it alone would wait for each other.

    The week of arrival is entered first, as all writers do: a writer of the old week may wait for this lock.
    """
    in_arrival_week(lambda _: label_log.lock(model_id, exclusive=True))


def _store_labels(job: Import, block: Block, reading: Reading) -> BlockOutcome:
    refusals = Refusals(block.table.num_rows)
    ids = read_ids(block, refusals)
    found = read_labels(block, ids, refusals, reading=reading, time_column="timestamp", required=True)
    kept = [(row, label) for row, label in found if row not in refusals.faults]
    outcome = BlockOutcome(faults=dict(refusals.faults))
    if kept:
        logged = label_log.log_labels(
            model=job.model, items=[label for _, label in kept], source=job.source, now=reading.now
        )
        outcome.accepted, outcome.duplicates = logged.accepted, logged.duplicates
        outcome.faults |= {kept[index][0]: fault for index, fault in _faults_of(logged).items()}
    return outcome


def _faults_of(result: BatchResult) -> dict[int, RowFault]:
    if not result.rejected:
        return {}
    return {item.index: _row_fault(item.error) for item in result.results if item.error is not None}


def _row_fault(fault: ItemFault) -> RowFault:
    """Name the column where the log names the place in a request, such as `/predictions/3/features/income`."""
    column = "/".join(fault.pointer.split("/")[3:]).removeprefix("features/")
    return RowFault(column.replace("~1", "/").replace("~0", "~"), fault.code, fault.detail)


@contextmanager
def bounded_memory(budget: int) -> Iterator[None]:
    """Allow this process to grow by so many bytes and no more: a small file can hold what fits into no memory.

    Raises UnreadableFile when that is not enough.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _data_bytes() + budget
    limit = wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    except MemoryError as error:  # Arrow's own is one
        raise UnreadableFile(
            f"Rows of this file need more than {budget >> 20:,} MiB of memory; write it in smaller row groups."
        ) from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    """Read how much data this process has, as the limit counts it."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData:"))
