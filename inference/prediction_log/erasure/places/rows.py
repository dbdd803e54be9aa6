"""Erases a subject's rows from the log: chunks are written anew without them, and all that is kept beside them goes.

A day of a model is worked on until every chunk that was listed has been read: one that is packed meanwhile takes its
rows along into another, so the day is listed again. What another caller logs later under the same ids is kept.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.db.models import QuerySet

from inference.prediction_log.erasure.subject import ErasedRow, Subject
from inference.prediction_log.erasure.work import Work, add_counts
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.queries.selectors import days_with_rows
from inference.prediction_log.retention.take_out import RowChoice, take_rows_out
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.prediction_log.storage.id_hashes import hash_ids, may_hold
from inference.registry.models import Model
from inference.registry.selectors import privacy_of

type Column = pa.Array | pa.ChunkedArray


def erase_rows(work: Work) -> None:
    """Erase the rows that name the subject, whatever their role."""
    key = pa.scalar(work.subject.key, pa.string())

    def pick(batch: pa.RecordBatch) -> pa.BooleanArray:
        return pc.fill_null(pc.equal(batch.column("subject"), key), False)

    _erase(work, "rows", lambda model: PredictionChunk.objects.filter(model=model), ["subject"], pick)


def erase_copies(work: Work) -> None:
    """Erase what shadows made of the same requests, where they were logged without the subject."""
    subject = work.subject
    if not subject.ids:
        return
    ids = pa.array(sorted(subject.ids), pa.string())

    def pick(batch: pa.RecordBatch) -> pa.BooleanArray:
        return pc.is_in(batch.column("id"), value_set=ids)

    def copies(model: Model) -> QuerySet[PredictionChunk]:
        return PredictionChunk.objects.filter(model=model, role="shadow")

    _erase(work, "copies", copies, ["id"], pick, _hashes_of(subject))


def _hashes_of(subject: Subject) -> np.ndarray:
    return hash_ids(sorted(subject.ids))


def _erase(
    work: Work,
    step: str,
    chunks_of: Callable[[Model], QuerySet[PredictionChunk]],
    columns: list[str],
    pick: RowChoice,
    hashes: np.ndarray | None = None,
) -> None:
    """Go through the project's days, from where an earlier slice ended."""
    for model in work.models:
        for day in days_with_rows(model):
            place = [model.pk, day.isoformat()]
            if place <= work.progress.get(step, [0, ""]):
                continue
            work.check_deadline()
            chunks = chunks_of(model).filter(day=day)
            if hashes is not None and not _may_hold(chunks, hashes):
                continue
            while not _clean(work, model, chunks, columns, pick):
                pass
            work.progress[step] = place


def _may_hold(chunks: QuerySet[PredictionChunk], hashes: np.ndarray) -> bool:
    return any(may_hold(stored, hashes) for stored in chunks.values_list("id_hashes", flat=True))


def _clean(
    work: Work, model: Model, chunks: QuerySet[PredictionChunk], columns: list[str], pick: RowChoice
) -> bool:
    """Read every chunk and write those anew that hold such rows; False where one was gone when its turn came."""
    were_there = True
    for pk, is_packed in list(chunks.order_by("pk").values_list("pk", "is_packed")):
        own = chunks.filter(pk=pk, is_packed=is_packed)
        payload = own.values_list("payload", flat=True).first()
        if payload is None:
            were_there = False
        elif pc.any(pick(read_rows(payload, columns))).as_py():
            were_there &= _rewrite(work, model, own, pick)
    return were_there


def _rewrite(work: Work, model: Model, own: QuerySet[PredictionChunk], pick: RowChoice) -> bool:
    """Take the rows out of one chunk, with their ids, labels and places in the summaries, in one commit."""
    with work.fenced() as erasure:

        def keep(chunk: PredictionChunk, erased: pa.RecordBatch) -> None:
            work.keep_rows(erasure, _rows_of(chunk, erased, work.subject.key))

        taken = take_rows_out(model, own, pick, keep)
        if taken is None:
            return False
        add_counts(erasure, {taken.place: taken.rows, "labels": taken.labels})
    return True


def _rows_of(chunk: PredictionChunk, batch: pa.RecordBatch, key: str) -> list[ErasedRow]:
    versions, roles = (pa.repeat(value, batch.num_rows) for value in (chunk.version_id, chunk.role))
    features = {name[2:]: batch[name] for name in batch.schema.names if name.startswith("f:")}
    return as_erased(chunk.model_id, key, versions, roles, batch["time"], batch, features)


def as_erased(
    model_id: int,
    key: str,
    versions: pa.Array,
    roles: Column,
    times: Column,
    rows: pa.RecordBatch | pa.Table,
    features: Mapping[str, Column],
) -> list[ErasedRow]:
    """Return rows as an erasure remembers them."""
    privacy = privacy_of(model_id)
    named = {
        feature: pc.is_in(column, pa.array([key, *privacy.hash_values(feature, [key])])).to_pylist()
        for feature, column in features.items()
        if pa.types.is_string(column.type)
    }
    plain = {"time_us": times.cast(pa.int64()), "id": rows["id"], "client_id": rows["client_id"]}
    stored = pa.table({"version_id": versions, "role": roles, **plain}).to_pylist()
    return [
        ErasedRow(model_id, **row, named_in=tuple(name for name, marks in named.items() if marks[place]))
        for place, row in enumerate(stored)
    ]
