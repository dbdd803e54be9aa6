"""Windows that cannot be summarised or measured: their points have the status `error` and say why.

What failed is in the work rows; points that were stored before are of other rows than the window holds now.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db.models import F, Func, JSONField, Value
from django.db.models.functions import Coalesce

from driftline.common.periods import following
from driftline.common.work import touch
from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole, TouchedPeriod
from inference.registry.models import Model
from monitors.metrics.models import MetricPoint, PendingEvaluation, PointStatus
from monitors.metrics.storing import lock_points
from monitors.summaries.models import StaleWindow

type Windows = Sequence[tuple[str, datetime]]
"""Span and start of each."""


def mark_unsummarised(model: Model, rows: list[MetricPoint], windows: Windows) -> list[MetricPoint]:
    """Give measured points of windows that wait for an hour which could not be summarised the status `error`.

    Returns them with a point of the same status for each such window that has no other. The rows are not saved.
    """
    troubled = _troubled(model, windows)
    errors: list[MetricPoint] = []
    for span, start in windows if troubled else ():
        end = following(start, span)
        for period in (one for one in troubled if start <= one.hour < end):
            population = [(period.role, period.version.version)]
            population += [(PredictionRole.CHAMPION, "")] if period.role in ANSWERING_ROLES else []
            errors += _marked(model, [*rows, *errors], span, start, population, period.reason)
    return [*rows, *errors]


def _troubled(model: Model, windows: Windows) -> list[TouchedPeriod]:
    held = TouchedPeriod.objects.filter(
        model=model,
        hour__gte=min(start for _, start in windows),
        hour__lt=max(following(start, span) for span, start in windows),
    )
    return list(held.troubled().select_related("version"))


def _marked(
    model: Model,
    rows: Iterable[MetricPoint],
    span: str,
    start: datetime,
    population: Iterable[tuple[str, str]],
    reason: str,
) -> list[MetricPoint]:
    """Mark the points of some versions in one window; returns a point for each version that has none."""
    missing = set(population)
    for row in rows:
        if (row.span, row.start) == (span, start) and (row.role, row.version) in population:
            row.status, row.detail = PointStatus.ERROR, {**(row.detail or {}), "why": reason}
            if row.metric == "count" and not row.value:
                row.value = None  # there are rows, and nobody could count them
            missing.discard((row.role, row.version))
    return [_error(model, span, start, role, version, reason) for role, version in sorted(missing)]


def _error(model: Model, span: str, start: datetime, role: str, version: str, reason: str) -> MetricPoint:
    return MetricPoint(
        model=model,
        role=role,
        version=version,
        span=span,
        start=start,
        end=following(start, span),
        metric="count",
        value=None,
        n=0,
        status=PointStatus.ERROR,
        detail={"why": reason},
    )


def store_error(window: StaleWindow) -> None:
    """Give the stored points of a window that cannot be measured the status `error`, in the caller's transaction."""
    lock_points(window.model_id)
    stored = MetricPoint.objects.filter(model_id=window.model_id, span=window.span, start=window.start)
    why: dict[str, Any] = {"why": window.reason}
    detail = Func(
        Coalesce(F("detail"), Value({}, JSONField())),
        Value(why, JSONField()),
        template="%(expressions)s",
        arg_joiner=" || ",
    )
    if not stored.update(status=PointStatus.ERROR, detail=detail):
        _error(window.model, window.span, window.start, PredictionRole.CHAMPION, "", window.reason).save()
    touch(PendingEvaluation, [(window.model_id,)], fields=("model_id",))


def forget_errors(model_id: int, rows: Iterable[MetricPoint], windows: Windows) -> None:
    """Delete stored errors of windows (span, start) that were measured again without that point."""
    kept = {_key(row) for row in rows}
    errors = MetricPoint.objects.filter(
        model_id=model_id,
        status=PointStatus.ERROR,
        span__in={span for span, _ in windows},
        start__in={start for _, start in windows},
    )
    measured = set(windows)
    outdated = [
        point.pk
        for point in errors.defer("detail")
        if (point.span, point.start) in measured and _key(point) not in kept
    ]
    if outdated:
        MetricPoint.objects.filter(pk__in=outdated).delete()


def _key(point: MetricPoint) -> tuple[Any, ...]:
    return (
        point.span, point.start, point.metric, point.feature, point.segment, point.role, point.version,
    )  # fmt: skip
