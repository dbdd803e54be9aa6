"""One measured value with everything that says how far to trust it, before it becomes a row."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models.base import ModelState

from driftline.base.periods import end_of
from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint, PointStatus

MAX_FEATURE_LENGTH = (
    200  # characters; nothing of a longer name, be it a feature or a class, has points of its own
)


@dataclass(frozen=True)
class Point:
    """A metric's value in one window; `value` is None when there was nothing to measure."""

    metric: str
    value: float | None
    n: int
    status: str = PointStatus.OK
    feature: str = ""
    lower: float | None = None
    upper: float | None = None
    threshold: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Population:
    """Whose requests a point counts; an empty version is every one."""

    role: str
    version: str
    segment: str = ""


def row_of(model: Model, population: Population, span: str, start: datetime, point: Point) -> MetricPoint:
    """Make the row of a measured point; it is not saved.

    Its fields are set past Django's constructor, which takes several times as long: an hour has dozens of points.
    """
    row = MetricPoint.__new__(MetricPoint)
    row._state = ModelState()
    row._state.fields_cache["model"] = model
    row.__dict__.update(
        id=None,
        row_id=None,
        measure="",
        model_id=model.pk,
        role=population.role,
        version=population.version,
        segment=population.segment,
        span=span,
        start=start,
        end=end_of(start, span),
        metric=point.metric,
        feature=point.feature,
        value=point.value,
        n=point.n,
        lower=point.lower,
        upper=point.upper,
        threshold=point.threshold,
        status=point.status,
        detail=point.detail or None,
        revision=1,
        updated_at=None,
    )
    return row


def count_of_features(metric: str, points: Iterable[Point], rows: int, min_rows: int) -> Point:
    """Count the features that stand out in `points`, name them in the detail, and be as severe as the worst."""
    out = [point for point in points if point.status in (PointStatus.WARNING, PointStatus.CRITICAL)]
    names = sorted({point.feature for point in out})
    status = judged_by_rows(float(len(names)), rows, min_rows)
    if status == PointStatus.OK and out:
        is_critical = any(point.status == PointStatus.CRITICAL for point in out)
        status = PointStatus.CRITICAL if is_critical else PointStatus.WARNING
    return Point(metric, float(len(names)), rows, status, detail={"counted": names})


def judged_by_rows(value: float | None, n: int, min_rows: int) -> str:
    """Return whether there was data at all, and enough of it to judge."""
    if n == 0 or value is None:
        return PointStatus.NO_DATA
    return PointStatus.OK if n >= min_rows else PointStatus.INSUFFICIENT
