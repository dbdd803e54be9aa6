"""The labelled rows of a period, as a search for segments takes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from django.db.models import Sum
from numpy.typing import NDArray

from driftline.common.periods import Period, floor
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.selectors import LogFrame
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from monitors.definitions.outcomes import row_losses
from monitors.metrics.references import References
from monitors.metrics.sampled_rows import sample_rows
from monitors.stats.segment_conditions import given_away
from monitors.stats.segment_search import ScoredRows
from monitors.summaries.models import Summary

MOST_ROWS = 20_000  # labelled ones that are searched
MOST_READ = 60_000  # rows, with a label or without
MOST_COLUMNS = 200  # the model's most important features
PARTS = 56  # of a long period, of which a piece each is read
TELLS_WHEN = 0.7  # of a feature that its day gives away
_LONG_DAYS = 14
_HOUR_US = 3_600_000_000


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
    let go are left out, and of a shorter window those that a day gives away, such as the weekday: they tell when.
    """
    rng = np.random.default_rng(abs(int(window.start.timestamp())))
    rows, _ = held_rows(model, window)
    frames = [
        frame
        for frame in sample_rows(model=model, window=window, rows=rows, most=MOST_READ, parts=PARTS, rng=rng)
        if len(frame)
    ]
    losses = [losses_of(model, frame, loss) for frame in frames]
    joined = np.concatenate(losses) if losses else np.empty(0)
    known = np.flatnonzero(np.isfinite(joined))
    if known.size > MOST_ROWS:
        known = np.sort(rng.choice(known, MOST_ROWS, replace=False))
    is_long = (window.end - window.start).days >= _LONG_DAYS
    times_us = np.concatenate([frame.times_us for frame in frames]) if frames else np.empty(0, np.int64)
    hours = times_us[known] // _HOUR_US
    columns = {name: values[known] for name, values in _columns(model, frames).items()}
    if is_long:
        return ScoredRows(columns, joined[known], hours // 24)
    where = {name: values for name, values in columns.items() if given_away(values, hours // 24) < TELLS_WHEN}
    return ScoredRows(where, joined[known], hours)


def losses_of(model: Model, frame: LogFrame, loss: str) -> NDArray[np.float64]:
    """Tell what rows lost, each by the classes of the version that answered it."""
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
    for name in names[:MOST_COLUMNS]:
        parts = [
            frame.features[name] for frame in frames if name in frame.features and name not in frame.let_go
        ]
        if len(parts) == len(frames) and len({part.dtype == object for part in parts}) == 1:
            columns[name] = np.concatenate(parts)
    return columns
