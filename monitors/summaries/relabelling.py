"""Finds the rows of predictions whose label changed after summaries had counted them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import numpy as np

from inference.prediction_log.chunk_rows import read_rows
from inference.prediction_log.damaged_chunks import mark_damaged
from inference.prediction_log.folded_labels import FoldedLabels
from inference.prediction_log.items import as_objects
from inference.prediction_log.label_reads import Holding, labels_in_chunks, labels_told_of
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.relabelled import Counted, Relabelled
from inference.prediction_log.sealed_chunks import ChunkDamaged, LogUnreadable
from inference.prediction_log.selectors import LogFrame, Part, describe_damaged, frame_from
from inference.registry.models import Model

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = ("id", "time", "prediction", "probability", "tags")


@dataclass(frozen=True)
class Changed:
    """Rows of one version, role and event day, with the labels that hold now and those that summaries count."""

    version_id: int
    role: str
    now: list[LogFrame]
    before: list[LogFrame]


class ChunkMoved(Exception):
    """Raised where a chunk that was listed has been packed into another: nothing was counted yet, so begin again."""


def find_relabelled(
    model: Model, changed: Sequence[Relabelled], features: Collection[str]
) -> tuple[list[Changed], list[Relabelled]]:
    """Find the counted rows of these predictions, the answer and each shadow's copy, with some of their features.

    Gives as well the predictions within the time of a chunk whose key cannot be had now. Raises ChunkMoved.
    """
    wanted = {(one.prediction_id, one.time_us): one.counted for one in changed}
    times_us = np.unique([one.time_us for one in changed])
    labels = labels_told_of(model.pk, (_moment(us) for us in times_us.tolist()))
    columns = {*_COLUMNS, *(f"{kind}:{name}" for name in features for kind in "fn")}
    days: dict[tuple[int, str, date], list[LogFrame]] = {}
    locked: list[tuple[int, int]] = []
    for chunk in _chunks_with(model, times_us):
        try:
            rows = _read(model, chunk, columns, labels, wanted)
        except LogUnreadable:
            locked.append((_us(chunk.start), _us(chunk.end)))
            continue
        if rows is not None and len(rows):
            days.setdefault((chunk.version_id, chunk.role, chunk.day), []).append(rows)
    left = [one for one in changed if any(start <= one.time_us <= end for start, end in locked)]
    for one in left:  # all rows of a prediction are counted at once
        del wanted[one.prediction_id, one.time_us]
    found = []
    for (version_id, role, _), parts in sorted(days.items(), key=lambda one: one[0]):
        kept = [part for rows in parts if len(part := _wanted_of(rows, wanted))]
        if kept:
            found.append(Changed(version_id, role, kept, [_as_counted(rows, wanted) for rows in kept]))
    return found, left


def _wanted_of(rows: LogFrame, wanted: Collection[tuple[str, int]]) -> LogFrame:
    keys = zip(rows.ids.tolist(), rows.times_us.tolist(), strict=True)
    return rows.take(np.array([key in wanted for key in keys], bool))


def _as_counted(rows: LogFrame, wanted: Mapping[tuple[str, int], Counted]) -> LogFrame:
    counted = [wanted[key] for key in zip(rows.ids.tolist(), rows.times_us.tolist(), strict=True)]
    return replace(
        rows,
        label=as_objects([one.value for one in counted]),
        label_time_us=np.array([one.known_us for one in counted], np.int64),
    )


def _chunks_with(model: Model, times_us: np.ndarray) -> Iterator[PredictionChunk]:
    """Give the counted chunks within whose time some prediction lies, with all that is in them."""
    days = {_moment(us).date() for us in times_us.tolist()}
    counted = PredictionChunk.objects.filter(model=model, day__in=days, is_summarised=True).order_by("pk")
    for pk, start, end in list(counted.values_list("pk", "start", "end")):
        first, last = np.searchsorted(times_us, [_us(start), _us(end) + 1])
        if first < last:
            chunk = counted.filter(pk=pk).defer("id_hashes").first()
            if chunk is None:
                raise ChunkMoved
            yield chunk


def _read(
    model: Model,
    chunk: PredictionChunk,
    columns: Collection[str],
    labels: dict[str, Holding],
    wanted: Collection[tuple[str, int]],
) -> LogFrame | None:
    """Read the rows of a chunk that are wanted; one that does not open is marked."""
    try:
        part = Part(chunk.version_id, read_rows(chunk.payload, columns), FoldedLabels.read(chunk.labels))
    except ChunkDamaged as error:
        same = PredictionChunk.objects.filter(day=chunk.day, is_packed=chunk.is_packed, pk=chunk.pk)
        mark_damaged(describe_damaged(same, {chunk.pk: error.reason}))
        return None
    if chunk.role == "shadow":
        labels = labels_in_chunks(model, chunk.start, chunk.end + timedelta(microseconds=1)) | labels
    return _wanted_of(frame_from([part], labels), wanted)


def _moment(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)
