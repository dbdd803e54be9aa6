"""Takes the rows of a wrong import out of the log again, with their labels and their places in the summaries.

A worker does it, some rows at a time. What another sender brought before is kept: the import counted it as known.
"""

from collections.abc import Callable
from datetime import date
from itertools import repeat

import pyarrow as pa
import pyarrow.compute as pc
from django.db import IntegrityError, transaction
from django.db.models import Q

from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem
from driftline.base.periods import day_of, from_us
from driftline.base.work.leased_work import WorkLease
from driftline.base.work.task_queue import Task, enqueue
from inference.prediction_log.imports import row_list
from inference.prediction_log.imports.bad_rows import KEPT_FOR
from inference.prediction_log.imports.models import Import
from inference.prediction_log.models import PredictionChunk, PredictionRole
from inference.prediction_log.retention.take_out import take_rows_out
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.registry.models import Version

_MAX_ROWS = 200_000  # that are looked for at once

type RowKey = tuple[str, int, str]
"""An id, an event time in microseconds, and the version of a shadow's row."""


def check_removable(job: Import) -> None:
    """Raise Problem where the rows of an import cannot be taken out of the log."""
    if job.kind != Import.Kind.PREDICTIONS:
        detail = "A file of labels is undone by sending the right labels: the newest label of an id holds."
        raise Problem(409, "import_of_labels", detail)
    if job.state == Import.State.REMOVED:
        raise Problem(409, "import_removed", f"The rows of {job} were removed already.")
    if job.is_unfinished:
        raise Problem(409, "import_running", f"{str(job).capitalize()} is {job.state}; cancel it first.")
    refuse_without_rows(job.model, "An import")
    if not job.row_bytes or not row_list.path_of(job).exists():
        detail = f"Which rows {job} brought is known for {KEPT_FOR.days} days, and only where it brought any."
        raise Problem(409, "rows_unknown", detail)


def request_removal(*, job: Import, actor: str) -> Import:
    """Ask a worker to take the rows of an import out of the log; raises Problem where that cannot be."""
    try:
        with transaction.atomic():
            locked = (
                Import.objects.select_for_update(of=("self",)).select_related("model__project").get(pk=job.pk)
            )
            check_removable(locked)
            Import.objects.filter(pk=job.pk).begin_again(removed_bytes=0)
            record_audit(
                project=locked.model.project, actor=actor, action="import.remove", subject=locked.model.name,
                after={"import": locked.pk, "file": locked.file_name, "rows": locked.accepted},
            )  # fmt: skip
            enqueue(Task.LONG_WORK)
    except IntegrityError as error:
        detail = "The same file is being imported at this moment; cancel that import, or let it end."
        raise Problem(409, "import_running", detail) from error
    locked.refresh_from_db()
    return locked


def remove_rows(lease: WorkLease[Import], *, stop: Callable[[Import], bool]) -> Import:
    """Take rows out of the log until all are, or `stop` says so; raises LeaseLost."""
    job = lease.read()
    wanted: dict[date, set[RowKey]] = {}
    rows = 0
    for block, offset in row_list.read_rows(job, job.removed_bytes or 0):
        for key in block.row_keys():
            wanted.setdefault(day_of(from_us(key[1])), set()).add(key)
        rows += len(block.ids)
        if rows < _MAX_ROWS and offset < job.row_bytes:
            continue
        for day, keys in sorted(wanted.items()):
            _remove_from_day(lease, day, keys)
        with lease.fenced() as job:
            job.removed_bytes = offset
            job.save(update_fields=["removed_bytes"])
        wanted, rows = {}, 0
        if stop(job):
            return job
    lease.finish(Import.State.REMOVED)
    row_list.path_of(job).unlink(missing_ok=True)
    job.refresh_from_db()
    return job


def _remove_from_day(lease: WorkLease[Import], day: date, keys: set[RowKey]) -> None:
    """Go through the chunks of a day until each that was listed has been read: one may be packed meanwhile."""
    by_shadow: dict[str, set[RowKey]] = {}
    for key in keys:
        by_shadow.setdefault(key[2], set()).add(key)
    for shadow, rows in by_shadow.items():
        _remove_from_chunks(lease, day, rows, shadow)


def _remove_from_chunks(lease: WorkLease[Import], day: date, keys: set[RowKey], shadow: str) -> None:
    """Remove rows from a day's chunks of one shadow, or from those of all other roles."""
    ids = pa.array(sorted({id_ for id_, _, _ in keys}), pa.string())

    def choose(batch: pa.RecordBatch) -> pa.BooleanArray:
        named = pc.is_in(batch.column("id"), value_set=ids)
        if not pc.any(named).as_py():
            return named
        times = batch.column("time").cast(pa.int64()).to_pylist()
        found = zip(batch.column("id").to_pylist(), times, repeat(shadow), strict=False)
        return pa.array([key in keys for key in found], pa.bool_())

    model = lease.read().model
    were_there = False
    while not were_there:
        were_there = True
        chunks = PredictionChunk.objects.filter(_of(shadow), model=model, day=day, damage="")
        for pk, is_packed in list(chunks.order_by("pk").values_list("pk", "is_packed")):
            own = chunks.filter(pk=pk, is_packed=is_packed)
            payload = own.values_list("payload", flat=True).first()
            if payload is None:
                were_there = False
            elif pc.any(choose(read_rows(payload, ["id", "time"]))).as_py():
                with lease.fenced():
                    were_there &= take_rows_out(model, own, choose) is not None


def _of(shadow: str) -> Q:
    """Select the chunks of one shadow, or of all other roles."""
    if shadow:
        versions = Version.objects.filter(version=shadow).values("pk")  # a join would lock the version too
        return Q(role=PredictionRole.SHADOW, version__in=versions)
    return ~Q(role=PredictionRole.SHADOW)
