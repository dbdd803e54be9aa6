"""The rows of a period and of what it is compared with, as searches for segments take them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from django.db.models import Sum
from numpy.typing import NDArray

from driftline.base.periods import HOUR_US, Period, floor
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.frames import LogFrame
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from monitors.definitions.models import Reference
from monitors.definitions.outcomes import row_losses
from monitors.definitions.reference_rows import read_rows
from monitors.metrics.references.loaded import References
from monitors.metrics.rows.sampling import sample_rows
from monitors.stats.segments.conditions import given_away
from monitors.stats.segments.growth import TimedRows
from monitors.stats.segments.search import ScoredRows
from monitors.summaries.models import Summary

MAX_ROWS = 20_000  # that are searched
MAX_READ_ROWS = 60_000  # rows, with a label or without
MAX_COLUMNS = 200  # the model's most important features
PARTS = 56  # of a long period, of which a piece each is read
TELLS_WHEN = 0.7  # of a feature that its day gives away
LONG_DAYS = 14


def held_rows(model: Model, window: Period) -> tuple[int, int]:
    """Count the rows, and those with a label, of the days that a window touches."""
    days = Summary.objects.filter(
        model=model,
        span="day",
        segment="",
        role__in=ANSWERING_ROLES,
        start__gte=floor(window.start, "day"),
        start__lt=window.end,
    ).aggregate(rows=Sum("rows"), labelled=Sum("labelled"))
    return days["rows"] or 0, days["labelled"] or 0


def scored_rows(model: Model, window: Period, loss: str) -> ScoredRows:
    """Read what labelled rows of a window lost, the most important features first; a large window is sampled.

    Rows of one hour count as one block, in a window of two weeks or more those of one day. Features whose values were
    dropped are left out, and of a shorter window those that a day gives away, such as the weekday: they tell when.
    """
    rng = _chance(window)
    frames = _sampled(model, window, rng)
    losses = np.concatenate([losses_of(model, frame, loss) for frame in frames] or [np.empty(0)])
    known = _some(np.flatnonzero(np.isfinite(losses)), rng)
    hours = _hours_of(frames)[known]
    columns = {name: values[known] for name, values in _columns(model, frames).items()}
    if _is_long(window):
        return ScoredRows(columns, losses[known], hours // 24)
    return ScoredRows(_tell_where(columns, hours // 24), losses[known], hours)


def timed_rows(model: Model, window: Period) -> TimedRows:
    """Read rows of a window, with a label or without, by the hour, but for features that the day gives away.

    Numbers are as exact as a float32: a reference's file may hold more digits than callers sent.
    """
    rng = _chance(window)
    frames = _sampled(model, window, rng)
    hours = _hours_of(frames)
    some = _some(np.arange(hours.size), rng)
    columns = {name: values[some] for name, values in _columns(model, frames).items()}
    return TimedRows(_tell_where(_as_float32(columns), hours[some] // 24), hours[some])


def reference_rows(reference: Reference, names: Collection[str]) -> TimedRows:
    """Read some features of a reference's file by the day, but for those that the day gives away; without times as one
    block. Raises FileNotFoundError where the file is gone."""
    rows = read_rows(reference, names, most=MAX_ROWS)
    columns, count = _as_float32(rows.features), len(next(iter(rows.features.values()), ()))
    if rows.hours is None:
        return TimedRows(columns, np.zeros(count, np.int64))
    return TimedRows(_tell_where(columns, rows.hours // 24), rows.hours // 24)


def _chance(window: Period) -> np.random.Generator:
    return np.random.default_rng(abs(int(window.start.timestamp())))


def _is_long(window: Period) -> bool:
    return (window.end - window.start).days >= LONG_DAYS


def _sampled(model: Model, window: Period, rng: np.random.Generator) -> list[LogFrame]:
    rows, _ = held_rows(model, window)
    frames = sample_rows(model=model, window=window, rows=rows, most=MAX_READ_ROWS, parts=PARTS, rng=rng)
    return [frame for frame in frames if len(frame)]


def _some(rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if rows.size <= MAX_ROWS else np.sort(rng.choice(rows, MAX_ROWS, replace=False))


def _hours_of(frames: Sequence[LogFrame]) -> NDArray[np.int64]:
    times_us = np.concatenate([frame.times_us for frame in frames] or [np.empty(0, np.int64)])
    return times_us // HOUR_US


def _tell_where(columns: Mapping[str, NDArray[Any]], days: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {name: values for name, values in columns.items() if given_away(values, days) < TELLS_WHEN}


def _as_float32(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    with np.errstate(over="ignore"):
        return {
            name: values if values.dtype == object else values.astype(np.float32).astype(np.float64)
            for name, values in columns.items()
        }


def losses_of(model: Model, frame: LogFrame, loss: str) -> NDArray[np.float64]:
    """Return what rows lost, each by the classes of the version that answered it."""
    losses = np.full(len(frame), np.nan)
    labelled = frame.is_labelled
    for version in model.versions.select_related("model").filter(
        pk__in=np.unique(frame.version_ids).tolist()
    ):
        own = np.flatnonzero(labelled & (frame.version_ids == version.pk))
        rows = frame.take(own)
        losses[own] = row_losses(signature_of(version), loss, rows.label, rows.prediction, rows.probability)
    return losses


def _columns(model: Model, frames: Sequence[LogFrame]) -> dict[str, NDArray[Any]]:
    """Put the features together that all pieces have, as the same kind."""
    if not frames:
        return {}
    reference = References(model).with_rows(model.deployment.champion_id)
    importance = reference.importance if reference else {}
    names = sorted(frames[0].features, key=lambda name: -importance.get(name, 0.0))
    columns = {}
    for name in names[:MAX_COLUMNS]:
        parts = [
            frame.features[name] for frame in frames if name in frame.features and name not in frame.dropped
        ]
        if len(parts) == len(frames) and len({part.dtype == object for part in parts}) == 1:
            columns[name] = np.concatenate(parts)
    return columns
