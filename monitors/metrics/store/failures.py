"""Windows that cannot be summarised or measured: their points have the status `error` and say why.

What failed is in the work rows; points that were stored before are of other rows than the window holds now.
"""

from collections.abc import Iterable
from datetime import datetime

from driftline.base.periods import end_of
from driftline.base.work.work_rows import touch
from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole, TouchedPeriod
from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint, PendingEvaluation, PointStatus
from monitors.metrics.store.storing import Windows, mark_errors, save_points
from monitors.summaries.models import StaleWindow


def mark_unsummarised(model: Model, rows: list[MetricPoint], windows: Windows) -> list[MetricPoint]:
    """Set the status `error` on measured points of windows that wait for an hour which could not be summarised.

    Returns them with a point of the same status for each such window that has no other. The rows are not saved.
    """
    troubled = _troubled(model, windows)
    errors: list[MetricPoint] = []
    for span, start in windows if troubled else ():
        end = end_of(start, span)
        for period in (one for one in troubled if start <= one.hour < end):
            versions = [(period.role, period.version.version)]
            versions += [(PredictionRole.CHAMPION, "")] if period.role in ANSWERING_ROLES else []
            errors += _marked(model, [*rows, *errors], span, start, versions, period.reason)
    return [*rows, *errors]


def _troubled(model: Model, windows: Windows) -> list[TouchedPeriod]:
    held = TouchedPeriod.objects.filter(
        model=model,
        hour__gte=min(start for _, start in windows),
        hour__lt=max(end_of(start, span) for span, start in windows),
    )
    return list(held.troubled().select_related("version"))


def _marked(
    model: Model,
    rows: Iterable[MetricPoint],
    span: str,
    start: datetime,
    versions: Iterable[tuple[str, str]],
    reason: str,
) -> list[MetricPoint]:
    """Mark the points of some versions in one window; returns a point for each version that has none."""
    missing = set(versions)
    for row in rows:
        if (row.span, row.start) == (span, start) and (row.role, row.version) in versions:
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
        end=end_of(start, span),
        metric="count",
        value=None,
        n=0,
        status=PointStatus.ERROR,
        detail={"why": reason},
    )


def store_error(window: StaleWindow) -> None:
    """Set the status `error` on the stored points of a window that cannot be measured, in the caller's transaction."""
    if not mark_errors(window.model_id, window.span, window.start, window.reason):
        champion = PredictionRole.CHAMPION
        save_points([_error(window.model, window.span, window.start, champion, "", window.reason)])
    touch(PendingEvaluation, [(window.model_id,)], fields=("model_id",))
