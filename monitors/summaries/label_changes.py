"""Finds the summarised rows of predictions with a changed label."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from driftline.base.periods import from_us, to_us
from inference.prediction_log.encryption.sealed_chunks import ChunkDamaged, LogUnreadable
from inference.prediction_log.items import as_objects
from inference.prediction_log.labels.changes import ClaimedChange, SummarisedLabel
from inference.prediction_log.labels.selectors import Holding, labels_at_times, labels_in_chunks
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.queries.frames import ChunkRows, LogFrame, frame_from
from inference.prediction_log.storage.chunk_rows import read_rows
from inference.prediction_log.storage.damaged_chunks import describe_damaged, mark_damaged
from inference.prediction_log.storage.folded_labels import FoldedLabels
from inference.registry.models import Model

_COLUMNS = ("id", "time", "latency_us", "prediction", "probability", "tags")

type _Key = tuple[str, int]
"""Id and event time (microseconds) of a prediction."""


@dataclass(frozen=True)
class RelabelledRows:
    """Rows of one version, role and event day, with their new labels and with those that the summaries count."""

    version_id: int
    role: str
    new: list[LogFrame]
    summarised: list[LogFrame]


class ChunkMoved(Exception):
    """A listed chunk was packed into another one before it was read; nothing was applied, so start again."""


def find_rows(
    model: Model, changes: Sequence[ClaimedChange], features: Collection[str]
) -> tuple[list[RelabelledRows], list[ClaimedChange]]:
    """Return the summarised rows of changed predictions (champion's and shadows') with these features.

    Also returns the changes that cannot be applied now, because the key of a chunk at their time is missing. Raises
    ChunkMoved.
    """
    wanted = {(change.prediction_id, change.time_us): change.summarised for change in changes}
    times_us = np.unique([change.time_us for change in changes])
    labels = labels_at_times(model.pk, map(from_us, times_us.tolist()))
    columns = {*_COLUMNS, *(f"{kind}:{name}" for name in features for kind in "fn")}
    days: dict[tuple[int, str, date], list[LogFrame]] = {}
    unreadable: list[tuple[int, int]] = []
    for chunk in _chunks_at(model, times_us):
        try:
            frame = _read(model, chunk, columns, labels)
        except LogUnreadable:
            unreadable.append((to_us(chunk.start), to_us(chunk.end)))
            continue
        if frame is not None and len(rows := _rows_in(frame, wanted)):
            days.setdefault((chunk.version_id, chunk.role, chunk.day), []).append(rows)
    waiting = [
        change for change in changes if any(start <= change.time_us <= end for start, end in unreadable)
    ]
    for change in waiting:  # a change is applied to all rows of its prediction at once
        del wanted[change.prediction_id, change.time_us]
    relabelled = []
    for (version_id, role, _), frames in sorted(days.items(), key=lambda item: item[0]):
        if new := [rows for frame in frames if len(rows := _rows_in(frame, wanted))]:
            summarised = [_as_summarised(rows, wanted) for rows in new]
            relabelled.append(RelabelledRows(version_id, role, new, summarised))
    return relabelled, waiting


def _chunks_at(model: Model, times_us: np.ndarray) -> Iterator[PredictionChunk]:
    """Yield the summarised chunks with one of these times in their time range, payload and labels included."""
    days = {from_us(us).date() for us in times_us.tolist()}
    chunks = PredictionChunk.objects.filter(model=model, day__in=days, is_summarised=True).order_by("pk")
    for pk, start, end in list(chunks.values_list("pk", "start", "end")):
        first, last = np.searchsorted(times_us, [to_us(start), to_us(end) + 1])
        if first < last:
            chunk = chunks.filter(pk=pk).defer("id_hashes").first()
            if chunk is None:
                raise ChunkMoved
            yield chunk


def _read(
    model: Model, chunk: PredictionChunk, columns: Collection[str], labels: dict[str, Holding]
) -> LogFrame | None:
    """Return the rows of a chunk; None if it is damaged, which is then marked."""
    try:
        part = ChunkRows(chunk.version_id, read_rows(chunk.payload, columns), FoldedLabels.read(chunk.labels))
    except ChunkDamaged as error:
        same = PredictionChunk.objects.filter(day=chunk.day, is_packed=chunk.is_packed, pk=chunk.pk)
        mark_damaged(describe_damaged(same, {chunk.pk: error.reason}))
        return None
    if chunk.role == "shadow":
        labels = labels_in_chunks(model, chunk.start, chunk.end + timedelta(microseconds=1)) | labels
    return frame_from([part], labels)


def _rows_in(rows: LogFrame, wanted: Collection[_Key]) -> LogFrame:
    return rows.take(np.array([key in wanted for key in _keys(rows)], bool))


def _as_summarised(rows: LogFrame, wanted: Mapping[_Key, SummarisedLabel]) -> LogFrame:
    labels = [wanted[key] for key in _keys(rows)]
    return replace(
        rows,
        label=as_objects([label.value for label in labels]),
        label_time_us=np.array([label.known_us for label in labels], np.int64),
    )


def _keys(rows: LogFrame) -> Iterator[_Key]:
    return zip(rows.ids.tolist(), rows.times_us.tolist(), strict=True)
