"""Erases a subject's rows from the files of a lake: each is written anew without them, in one step.

The log says nothing of rows that expired, so every file is read, at first three of its columns alone. A copy that a
shadow made has no subject and lies in a file of the same day: it goes by the id of its prediction.

A worker that began to write a file before may have read rows that are erased now: such a file is waited for.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from tempfile import TemporaryFile
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from driftline.base.feature import DataRemoval, ErasureStep
from driftline.base.periods import day_of, from_us
from driftline.base.work.advisory_locks import AdvisoryLock, lock
from driftline.base.work.lease import Lease
from inference.connectors.failure import ConnectorFailed
from inference.connectors.objects.remote_store import check_room
from inference.prediction_log.erasure.places.rows import as_erased
from inference.prediction_log.erasure.subject import ErasedRow, Subject
from inference.prediction_log.erasure.work import Blocked, Work, add_counts
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.selectors import files_of
from inference.prediction_log.lake.stores.store import LakeStore, settings_of
from inference.prediction_log.lake.writing import drafted, opened, put, send
from inference.prediction_log.models import PredictionRole
from inference.prediction_log.queries.exports import LOG_COLUMNS
from inference.registry.models import Model


def erase_from_lake(work: Work) -> None:
    """Write the files of the project's lake anew that hold such rows; waits while the lake cannot be reached."""
    _erase_from_days(work, "lake", None)


def erase_late_writes(work: Work) -> None:
    """Do the same once more for the days of the rows, which a worker may have read before the log lost them all."""
    days = {(row.model_id, day_of(from_us(row.time_us))) for row in work.subject.rows}
    _erase_from_days(work, "late writes", days)


def _erase_from_days(work: Work, step: str, days: Collection[tuple[int, date]] | None) -> None:
    """Erase from the files of these days of models, or of all."""
    lake = Lake.objects.filter(project=work.project).first()
    if lake is None or not files_of(work.project).begun().exists():
        return
    try:
        with opened(lake) as store:
            for model in work.models:
                _erase_from_model(_Place(work, lake, store, model), step, days)
    except ConnectorFailed as error:
        raise Blocked(f"the lake: {error}") from error


@dataclass(frozen=True)
class _Place:
    """The files of one model in a lake."""

    work: Work
    lake: Lake
    store: LakeStore
    model: Model

    def name_of(self, file: LakeFile) -> str:
        return settings_of(self.lake).name_of(file.path)


def _erase_from_model(place: _Place, step: str, days: Collection[tuple[int, date]] | None) -> None:
    """Go through the days of a model, from where an earlier slice ended.

    A file that was begun with may be in its place already: a worker can be killed before it writes that down.
    """
    work = place.work
    begun = LakeFile.objects.filter(model=place.model).begun()
    for day, files in groupby(begun.order_by("day", "number"), lambda file: file.day):
        at = [place.model.pk, day.isoformat()]
        if at <= work.progress.get(step, [0, ""]) or (days is not None and (place.model.pk, day) not in days):
            continue
        work.check_deadline()
        _erase_from_day(place, list(files))
        work.progress[step] = at


def _erase_from_day(place: _Place, files: Sequence[LakeFile]) -> None:
    """Note the rows of the subject in all files of a day, then write those anew that hold one of them."""
    before = place.work.subject.ids
    for file in files:
        if file.draft:
            _remove_draft(place, file)
    holders = [file for file in files if _note_rows(place, file)]
    has_more_ids = place.work.subject.ids != before
    for file in files:
        if file in holders or (has_more_ids and _holds_any(place, file)):
            _rewrite(place, file)
            place.work.check_deadline()  # in another slice the ids are known, and what is rewritten holds none


def _remove_draft(place: _Place, file: LakeFile) -> None:
    """Remove what a worker that died has sent of a file; its note stays, for the file may be in its place."""
    with _claimed(file) as lease, transaction.atomic():
        lock(AdvisoryLock.LAKE_FILES, place.work.project.pk)  # it may live after all, and be at its last step
        place.store.discard(place.name_of(file), lease.read().draft)
        lease.release()


def _note_rows(place: _Place, file: LakeFile) -> bool:
    """Remember the rows of a file that name the subject: their ids and times tell where else they are."""
    with place.store.read(place.name_of(file)) as content:
        if content is None or not _is_marked(content, place.work.subject):
            return False
        rows = _rows_of(content, place.model, place.work.subject.key)
    with place.work.fenced() as erasure:
        place.work.keep_rows(erasure, rows)
    return True


def _holds_any(place: _Place, file: LakeFile) -> bool:
    with place.store.read(place.name_of(file)) as content:
        return content is not None and _is_marked(content, place.work.subject)


def _is_marked(content: IO[bytes], subject: Subject) -> bool:
    """Return whether a file holds a row to erase; it reads three of its columns."""
    content.seek(0)
    parquet = pq.ParquetFile(content)
    groups = (
        parquet.read_row_group(number, columns=["id", "role", "subject"])
        for number in range(parquet.num_row_groups)
    )
    return any(pc.any(_marks(group, subject)).as_py() for group in groups)


def _marks(rows: pa.Table, subject: Subject) -> pa.ChunkedArray:
    """Mark the rows that name the subject, or are copies of one that did."""
    named = pc.fill_null(pc.equal(rows["subject"], pa.scalar(subject.key, pa.string())), False)
    has_id = pc.is_in(rows["id"], value_set=pa.array(sorted(subject.ids), pa.string()))
    return pc.or_(named, pc.and_(has_id, pc.equal(rows["role"], PredictionRole.SHADOW.value)))


@contextmanager
def _claimed(file: LakeFile) -> Iterator[Lease[LakeFile]]:
    with transaction.atomic():
        claimed = LakeFile.objects.filter(pk=file.pk).claim(limit=1)
    if not claimed:
        raise Blocked(f"the writing of {file} to the lake")
    lease = Lease(LakeFile, file.pk, claimed[0].lease_token or 0)
    with lease.renewed():
        yield lease


def _rewrite(place: _Place, file: LakeFile) -> None:
    """Write a file anew without the rows, and count them, in one commit."""
    check_room(str(file), file.size_bytes)
    with _claimed(file) as lease:
        name = place.name_of(file)
        with (
            drafted(place.store, name, lease.read(), lease) as draft,
            TemporaryFile(dir=settings.HOME) as kept,
        ):
            with place.store.read(name) as content:
                erased, left = _filter(content, kept, place.work.subject)

            def finish(present: LakeFile, values: dict[str, Any]) -> None:
                values["written_at"] = present.written_at or Now()  # its labels are as old as before
                lease.release(**values, rows=left)

            sent = send(place.store, name, draft, kept)
            with place.work.fenced() as erasure:
                put(sent, lease, finish)
                add_counts(erasure, {"lake_rows": erased})


def _filter(content: IO[bytes] | None, kept: IO[bytes], subject: Subject) -> tuple[int, int]:
    """Copy a file without the rows, a row group at a time; returns how many go and how many stay."""
    if content is None:
        raise Blocked("a file of the lake that was removed meanwhile")
    content.seek(0)
    parquet = pq.ParquetFile(content)
    erased = left = 0
    with pq.ParquetWriter(kept, parquet.schema_arrow, compression="zstd") as writer:
        for number in range(parquet.num_row_groups):
            group = parquet.read_row_group(number)
            rest = group.filter(pc.invert(_marks(group, subject)))
            writer.write_table(rest)
            erased, left = erased + group.num_rows - rest.num_rows, left + rest.num_rows
    return erased, left


def _rows_of(content: IO[bytes], model: Model, key: str) -> list[ErasedRow]:
    content.seek(0)
    table = pq.read_table(content, filters=pc.field("subject") == key)
    known = dict(model.versions.values_list("version", "pk"))
    versions = pa.array([known.get(version, 0) for version in table["version"].to_pylist()], pa.int64())
    features = {name: table[name] for name in table.column_names if name not in LOG_COLUMNS}
    return as_erased(model.pk, key, versions, table["role"], table["timestamp"], table, features)


DATA_REMOVAL = DataRemoval(
    erasure=[
        # before the copies, which rows that only the lake holds may have
        ErasureStep("lake", after="rows", erase=erase_from_lake),
        ErasureStep("late writes", after="copies", erase=erase_late_writes),
    ]
)
