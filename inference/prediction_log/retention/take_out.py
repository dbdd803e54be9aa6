"""Takes single rows out of the log: their chunk is written anew without them, and what is kept beside them goes too.

All of it is one transaction: narrow rows, labels, and what the summaries count.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
from django.db.models import QuerySet

from driftline.base.periods import floor, from_us
from inference.prediction_log.encryption.sealed_chunks import sealer
from inference.prediction_log.labels import services as labels
from inference.prediction_log.labels.changes import SummarisedLabel, record_label_changes, summarised_labels
from inference.prediction_log.models import PredictionChunk, UnsentChunk
from inference.prediction_log.queries.frames import ChunkRows, LogFrame, frame_from
from inference.prediction_log.queries.unsummarised import request_rebuild
from inference.prediction_log.signals import days_changed, rows_erased
from inference.prediction_log.storage import narrow_rows
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.prediction_log.storage.compaction import ids_of, recount_day
from inference.prediction_log.storage.folded_labels import FoldedLabels
from inference.prediction_log.storage.id_hashes import write_hashes
from inference.prediction_log.storage.packing import write
from inference.registry.models import Model

type RowChoice = Callable[[pa.RecordBatch], pa.BooleanArray]
"""Marks the rows of a chunk that are to go."""


@dataclass(frozen=True)
class TakenRows:
    """How many rows and labels of a chunk went, and whether the rows are `predictions` or `shadow_rows`."""

    place: str
    rows: int
    labels: int


def take_rows_out(
    model: Model,
    own: QuerySet[PredictionChunk],
    choose: RowChoice,
    before: Callable[[PredictionChunk, pa.RecordBatch], None] = lambda chunk, rows: None,
) -> TakenRows | None:
    """Take rows out of one chunk, in the caller's transaction; None where the chunk is not there any more.

    `before` is called with the rows while they are there.
    """
    labels.lock_summaries(model.pk)
    labels.lock(model.pk, exclusive=True)
    chunk = own.select_for_update().first()
    if chunk is None:
        return None
    batch = read_rows(chunk.payload)
    is_taken = choose(batch)
    is_kept = pc.invert(is_taken)
    rows = batch.filter(is_taken)
    before(chunk, rows)
    folded = FoldedLabels.read(chunk.labels)
    taken = _as_summarised(model, chunk, batch, folded).take(is_taken.to_numpy(zero_copy_only=False))
    kept = folded.keep(is_kept.to_numpy(zero_copy_only=False))
    _replace(chunk, batch.filter(is_kept), kept)
    if chunk.role != "shadow":
        _record_lost_labels(model.pk, taken)
    forgotten = len(folded) - len(kept) + _forget_beside(chunk, rows)
    _update_summaries(model, chunk, rows, taken)
    return TakenRows("shadow_rows" if chunk.role == "shadow" else "predictions", rows.num_rows, forgotten)


def _as_summarised(
    model: Model, chunk: PredictionChunk, batch: pa.RecordBatch, folded: FoldedLabels
) -> LogFrame:
    """Return a chunk's rows with the labels that the summaries count for them."""
    labels = summarised_labels(model, [chunk.role], chunk.start, chunk.end + timedelta.resolution)
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


def _replace(chunk: PredictionChunk, kept: pa.RecordBatch, folded: FoldedLabels) -> None:
    """Keep a chunk's other rows, or nothing where it has none. The event clock goes on as if the last were there."""
    own = PredictionChunk.objects.filter(day=chunk.day, is_packed=chunk.is_packed, pk=chunk.pk)
    unsent = UnsentChunk.objects.filter(chunk=chunk.pk)
    if not kept.num_rows:
        own.delete()
        unsent.delete()
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
        unsent.update(rows=kept.num_rows)
    if chunk.is_packed:
        recount_day(chunk)


def _forget_beside(chunk: PredictionChunk, rows: pa.RecordBatch) -> int:
    """Delete the narrow rows and the labels of these rows; returns how many labels there were in rows of their own."""
    ids, times = rows.column("id").to_pylist(), rows.column("time").cast(pa.int64()).to_pylist()
    is_copy = chunk.role == "shadow"
    narrow_rows.forget(chunk.model_id, chunk.version_id if is_copy else 0, chunk.week, ids)
    if is_copy:
        return 0
    clients = rows.column("client_id").to_pylist()
    return labels.forget(chunk.model_id, list(zip(ids, times, clients, strict=True)))


def _update_summaries(model: Model, chunk: PredictionChunk, rows: pa.RecordBatch, taken: LogFrame) -> None:
    """Subtract these rows from the summaries that count them, and request that their hours are rebuilt."""
    hours = {floor(from_us(us), "hour") for us in rows.column("time").cast(pa.int64()).to_pylist()}
    request_rebuild(model.pk, [(chunk.version_id, chunk.role, hour) for hour in sorted(hours)])
    days_changed.send(sender=PredictionChunk, model=model, days={chunk.day})
    if chunk.is_summarised:
        rows_erased.send(sender=PredictionChunk, chunk=chunk, erased=taken)
