"""Erases a subject's rows from the log: chunks are written anew without them, and all that is kept beside them goes.

A day of a model is worked on until every chunk that was listed has been read: one that is packed meanwhile takes its
rows along into another, so the day is listed again. What another caller logs later under the same ids is kept.
"""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.db.models import QuerySet

from driftline.common.periods import floor, from_us
from inference.prediction_log.encryption.sealed_chunks import sealer
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.subject import ErasedRow, Subject
from inference.prediction_log.erasure.work import Work, add_counts
from inference.prediction_log.labels import services as labels
from inference.prediction_log.labels.changes import SummarisedLabel, record_label_changes, summarised_labels
from inference.prediction_log.models import PackedDay, PredictionChunk
from inference.prediction_log.queries.selectors import ChunkRows, LogFrame, frame_from
from inference.prediction_log.queries.unsummarised import request_rebuild
from inference.prediction_log.signals import rows_erased
from inference.prediction_log.storage import narrow_rows
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.prediction_log.storage.compaction import ids_of, recount_day
from inference.prediction_log.storage.folded_labels import FoldedLabels
from inference.prediction_log.storage.id_hashes import hash_ids, may_hold, write_hashes
from inference.prediction_log.storage.packing import write
from inference.registry.models import Model
from inference.registry.selectors import privacy_of

type _Pick = Callable[[pa.RecordBatch], pa.BooleanArray]


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
    pick: _Pick,
    hashes: np.ndarray | None = None,
) -> None:
    """Go through the project's days, from where an earlier slice ended."""
    for model in work.models:
        for day in _days_of(model):
            place = [model.pk, day.isoformat()]
            if place <= work.progress.get(step, [0, ""]):
                continue
            work.check_deadline()
            chunks = chunks_of(model).filter(day=day)
            if hashes is not None and not _may_hold(chunks, hashes):
                continue
            while not _clean(work, chunks, columns, pick):
                pass
            work.progress[step] = place


def _days_of(model: Model) -> list[date]:
    fresh = PredictionChunk.objects.filter(model=model, is_packed=False).values_list("day", flat=True)
    packed = PackedDay.objects.filter(model=model).values_list("day", flat=True)
    return sorted({*fresh, *packed})


def _may_hold(chunks: QuerySet[PredictionChunk], hashes: np.ndarray) -> bool:
    return any(may_hold(stored, hashes) for stored in chunks.values_list("id_hashes", flat=True))


def _clean(work: Work, chunks: QuerySet[PredictionChunk], columns: list[str], pick: _Pick) -> bool:
    """Read every chunk and write those anew that hold such rows; False where one was gone when its turn came."""
    were_there = True
    for pk, is_packed in list(chunks.order_by("pk").values_list("pk", "is_packed")):
        own = chunks.filter(pk=pk, is_packed=is_packed)
        payload = own.values_list("payload", flat=True).first()
        if payload is None:
            were_there = False
        elif pc.any(pick(read_rows(payload, columns))).as_py():
            were_there &= _rewrite(work, own, pick)
    return were_there


def _rewrite(work: Work, own: QuerySet[PredictionChunk], pick: _Pick) -> bool:
    """Take the rows out of one chunk, with their ids, labels and places in the summaries, in one commit."""
    with work.fenced() as erasure:
        model_id = own.values_list("model_id", flat=True).first()
        if model_id is None:
            return False
        labels.lock_summaries(model_id)
        labels.lock(model_id, exclusive=True)
        chunk = own.select_for_update().first()
        if chunk is None:
            return False
        batch = read_rows(chunk.payload)
        is_erased = pick(batch)
        is_kept = pc.invert(is_erased)
        rows = _rows_of(chunk, batch.filter(is_erased), work.subject.key)
        work.keep_rows(erasure, rows)
        folded = FoldedLabels.read(chunk.labels)
        erased = _as_summarised(chunk, batch, folded).take(is_erased.to_numpy(zero_copy_only=False))
        kept = folded.keep(is_kept.to_numpy(zero_copy_only=False))
        _replace(chunk, batch.filter(is_kept), kept)
        if chunk.role != "shadow":
            _record_lost_labels(model_id, erased)
        _erase_beside(chunk, rows, len(folded) - len(kept), erasure)
        _update_summaries(chunk, rows, erased)
    return True


def _as_summarised(chunk: PredictionChunk, batch: pa.RecordBatch, folded: FoldedLabels) -> LogFrame:
    """Return a chunk's rows with the labels that the summaries count for them."""
    model, end = Model.objects.get(pk=chunk.model_id), chunk.end + timedelta(microseconds=1)
    labels = summarised_labels(model, [chunk.role], chunk.start, end)
    return frame_from([ChunkRows(chunk.version_id, batch, folded)], labels)


def _record_lost_labels(model_id: int, erased: LogFrame) -> None:
    """Record that these rows lose their labels, so that the summaries of the shadows' copies lose them too."""
    labelled = erased.take(erased.is_labelled)
    record_label_changes(
        model_id,
        {
            (str(id_), from_us(int(time_us))): SummarisedLabel(value, int(known_us))
            for id_, time_us, value, known_us in zip(
                labelled.ids, labelled.times_us, labelled.label, labelled.label_time_us, strict=True
            )
        },
    )


def _rows_of(chunk: PredictionChunk, batch: pa.RecordBatch, key: str) -> list[ErasedRow]:
    columns = [batch.column("time").cast(pa.int64()), batch.column("id"), batch.column("client_id")]
    privacy = privacy_of(chunk.model_id)
    texts = {
        name.removeprefix("f:"): batch.column(name).to_pylist()
        for name in batch.schema.names
        if name.startswith("f:") and pa.types.is_string(batch.schema.field(name).type)
    }
    names = {name: {key, *privacy.hash_values(name, [key])} for name in texts}
    return [
        ErasedRow(
            model_id=chunk.model_id,
            version_id=chunk.version_id,
            role=chunk.role,
            time_us=time_us,
            id=id_,
            client_id=client_id,
            named_in=tuple(name for name, column in texts.items() if column[place] in names[name]),
        )
        for place, (time_us, id_, client_id) in enumerate(
            zip(*(column.to_pylist() for column in columns), strict=True)
        )
    ]


def _replace(chunk: PredictionChunk, kept: pa.RecordBatch, folded: FoldedLabels) -> None:
    """Keep a chunk's other rows, or nothing where it has none. The event clock goes on as if the last were there."""
    own = PredictionChunk.objects.filter(day=chunk.day, is_packed=chunk.is_packed, pk=chunk.pk)
    if not kept.num_rows:
        own.delete()
    else:
        seal = sealer()
        times = kept.column("time").cast(pa.int64()).to_numpy()
        start, end = (from_us(int(us)) for us in (times.min(), times.max()))
        own.update(
            rows=kept.num_rows,
            payload=seal(write(kept)),
            id_hashes=write_hashes(ids_of(kept)) if chunk.is_packed else None,
            labels=seal(folded.write()) if len(folded) else None,
            start=start,
            end=end,
            end_stored_at=chunk.end_stored_at - (chunk.end - end),
        )
    if chunk.is_packed:
        recount_day(chunk)


def _erase_beside(chunk: PredictionChunk, rows: list[ErasedRow], folded: int, erasure: Erasure) -> None:
    """Erase the narrow rows and the labels of these rows; `folded` labels went with their chunk."""
    is_copy = chunk.role == "shadow"
    slot = chunk.version_id if is_copy else 0
    narrow_rows.forget(chunk.model_id, slot, chunk.week, [row.id for row in rows])
    remaining = folded
    if not is_copy:
        remaining += labels.forget(chunk.model_id, [(row.id, row.time_us, row.client_id) for row in rows])
    add_counts(erasure, {"shadow_rows" if is_copy else "predictions": len(rows), "labels": remaining})


def _update_summaries(chunk: PredictionChunk, rows: list[ErasedRow], erased: LogFrame) -> None:
    """Subtract these rows from the summaries that count them, and request that their hours are rebuilt."""
    hours = {floor(from_us(row.time_us), "hour") for row in rows}
    request_rebuild(chunk.model_id, [(chunk.version_id, chunk.role, hour) for hour in hours])
    if chunk.is_summarised:
        rows_erased.send(sender=PredictionChunk, chunk=chunk, erased=erased)
