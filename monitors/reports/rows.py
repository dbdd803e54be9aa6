"""The rows of either side of a report: a uniform sample of the log's or of a reference's, as columns."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.db.models import Sum
from numpy.typing import NDArray

from driftline.base.periods import Period, windows
from inference.prediction_log.models import ANSWERING_ROLES, PredictionChunk, PredictionRole
from inference.prediction_log.queries.frames import LogFrame
from inference.prediction_log.queries.selectors import frame_of, newest_event, oldest_event
from inference.registry.files.datasets import path_of
from inference.registry.models import Model
from inference.registry.selectors import privacy_of, signature_of
from monitors.definitions.feature_kinds import kinds_in_rows
from monitors.definitions.models import Reference
from monitors.definitions.reference_rows import (
    class_probabilities,
    column_of,
    feature_arrays,
    positive_score,
)
from monitors.definitions.segment_masks import rows_where
from monitors.stats.segments.conditions import RowCondition

MAX_READ_ROWS = 500_000  # rows at once; a day of more is read by the hour

type Values = NDArray[Any]


@dataclass(frozen=True)
class ReportRows:
    """Sampled rows as columns: numbers as float64 with NaN, texts as objects with None."""

    total: int  # rows that there were
    features: dict[str, Values]
    prediction: Values | None = None
    probability: Values | None = None  # of the positive class, or rows x classes
    label: Values | None = None
    dropped: frozenset[str] = field(default_factory=frozenset)  # features without values in some rows

    def __len__(self) -> int:
        return len(next((one for one in (self.prediction, *self.features.values()) if one is not None), ()))

    def take(self, where: Values) -> "ReportRows":
        """Keep the rows that `where` (mask or indices) picks."""
        return replace(
            self,
            features={name: values[where] for name, values in self.features.items()},
            prediction=None if self.prediction is None else self.prediction[where],
            probability=None if self.probability is None else self.probability[where],
            label=None if self.label is None else self.label[where],
        )


def conditions_of(segment: str, model: Model) -> tuple[RowCondition, ...]:
    """Read a segment: a declared one by its name, or `feature:value`, of a hashed feature by its plain value.

    Nothing is no condition. Raises Segment.DoesNotExist where it was removed.
    """
    feature, mark, value = segment.partition(":")
    if not segment:
        return ()
    if not mark:
        return model.segments.get(name=segment).parsed
    [kept] = privacy_of(model.pk).protect({feature: np.array([value], object)}).get(feature, [value])
    return (RowCondition(feature, value=str(kept)),)


# -- the log -----------------------------------------------------------------------------------------------------------
def read_log(
    model: Model,
    period: Period,
    *,
    version_id: int | None,
    segment: Sequence[RowCondition],
    most: int,
    rng: np.random.Generator,
    on_progress: Callable[[float], None],
) -> ReportRows:
    """Sample the rows of a period, in the order of their events.

    With a version all that it answered, also as a shadow; else what callers were answered. `on_progress` is told the
    share that is read.
    """
    roles = ANSWERING_ROLES if version_id is None else tuple(PredictionRole)
    pieces, kinds = list(_pieces(model, period, roles)), kinds_in_rows(model)
    sample = _Sample(most, rng)
    for place, piece in enumerate(pieces):
        found = frame_of(model=model, start=piece.start, end=piece.end, role=roles, version_id=version_id)
        frame = found.as_kinds(kinds)
        sample.add(frame.take(rows_where(segment, frame)) if segment else frame)
        on_progress((place + 1) / len(pieces))
    return _side(sample)


def _pieces(model: Model, period: Period, roles: Sequence[str]) -> Iterator[Period]:
    """Cut the part of a period that has events into days, and busy days into hours."""
    oldest, newest = oldest_event(model), newest_event(model)
    if oldest is None or newest is None:
        return
    held = Period(max(period.start, oldest), min(period.end, newest + timedelta(microseconds=1)))
    for day in windows(held, "day") if held.start < held.end else ():
        chunks = PredictionChunk.objects.filter(model=model, role__in=roles, day=day.start.date())
        rows = chunks.aggregate(rows=Sum("rows"))["rows"]
        if not rows:
            continue
        inside = Period(max(day.start, held.start), min(day.end, held.end))
        for part in windows(inside, "hour") if rows > MAX_READ_ROWS else (inside,):
            yield Period(max(part.start, inside.start), min(part.end, inside.end))


class _Sample:
    """At most `most` of the rows that come, each as likely as any other: those that drew the smallest numbers."""

    def __init__(self, most: int, rng: np.random.Generator) -> None:
        self.total = 0
        self._most, self._rng = most, rng
        self._limit = 1.0
        self._kept: list[tuple[NDArray[np.float64], LogFrame]] = []

    def add(self, frame: LogFrame) -> None:
        self.total += len(frame)
        draws = self._rng.random(len(frame))
        self._kept.append((draws, frame))
        self._lower(self._limit)
        if sum(len(drawn) for drawn, _ in self._kept) > self._most:
            smallest = np.sort(np.concatenate([drawn for drawn, _ in self._kept]))
            self._lower(float(smallest[self._most]))

    def _lower(self, limit: float) -> None:
        self._limit = limit
        below = [(drawn < limit, drawn, frame) for drawn, frame in self._kept]
        self._kept = [(drawn[is_in], frame.take(is_in)) for is_in, drawn, frame in below if is_in.any()]

    @property
    def frames(self) -> list[LogFrame]:
        return [frame for _, frame in self._kept]


def _side(sample: _Sample) -> ReportRows:
    frames = sample.frames
    names = dict.fromkeys(name for frame in frames for name in frame.features)
    return ReportRows(
        total=sample.total,
        features={name: _join([frame.features.get(name) for frame in frames], frames) for name in names},
        prediction=_join([frame.prediction for frame in frames], frames) if frames else None,
        probability=_join_probabilities(frames),
        label=np.concatenate([frame.label for frame in frames]) if frames else None,
        dropped=frozenset(name for frame in frames for name in frame.dropped),
    )


def _join(parts: Sequence[Values | None], frames: Sequence[LogFrame]) -> Values:
    """Put a column together; where it is text in any part, what others hold of it is missing."""
    is_text = any(part is not None and part.dtype == object for part in parts)
    missing, dtype = (None, object) if is_text else (np.nan, np.float64)
    return np.concatenate(
        [
            part
            if part is not None and (part.dtype == object) == is_text
            else np.full(len(frame), missing, dtype)
            for part, frame in zip(parts, frames, strict=True)
        ]
    )


def _join_probabilities(frames: Sequence[LogFrame]) -> Values | None:
    """Put probabilities together; None where there are none, or versions have other classes."""
    shapes = {frame.probability.shape[1:] for frame in frames if frame.probability is not None}
    if len(shapes) != 1:
        return None
    [shape] = shapes
    return np.concatenate(
        [
            np.full((len(frame), *shape), np.nan) if frame.probability is None else frame.probability
            for frame in frames
        ]
    )


# -- a reference's file ------------------------------------------------------------------------------------------------
def read_reference(
    reference: Reference, *, segment: Sequence[RowCondition], most: int, rng: np.random.Generator
) -> ReportRows:
    """Sample the rows of a reference's file, as the log would keep them; raises FileNotFoundError where it is gone."""
    signature = signature_of(reference.version)
    assert reference.dataset is not None
    table = pq.read_table(path_of(reference.dataset))
    if segment:
        table = table.filter(pa.array(_of_segment(table, reference, segment)))
    total = table.num_rows
    if total > most:
        table = table.take(np.sort(rng.choice(total, most, replace=False)))
    is_multiclass = signature.task == "multiclass"
    return ReportRows(
        total=total,
        features=privacy_of(reference.model_id).protect(feature_arrays(table, signature.features)),
        prediction=column_of(table, "prediction"),
        probability=(class_probabilities if is_multiclass else positive_score)(table, signature),
        label=column_of(table, "label"),
    )


def _of_segment(table: pa.Table, reference: Reference, segment: Sequence[RowCondition]) -> NDArray[np.bool_]:
    """Mark the rows of which all conditions hold; the file has no tags."""
    wanted = {one.feature for one in segment}
    features = [one for one in signature_of(reference.version).features if one.name in wanted]
    kept = privacy_of(reference.model_id).protect(feature_arrays(table, features))
    absent = np.full(table.num_rows, None, object)
    return np.logical_and.reduce([one.holds(kept.get(one.feature, absent)) for one in segment])
