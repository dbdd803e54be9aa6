"""Why: data-quality faults first, then features by how much they moved times how much the model leans on them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inference.registry.models import Model
from monitors.definitions.services import drift_method
from monitors.metrics.catalogue import METRICS, QUALITY_METRICS
from monitors.metrics.drift import drift_points
from monitors.metrics.models import MetricPoint
from monitors.metrics.periods import merged_summary
from monitors.metrics.references import ReferenceInUse, reference_in_use
from monitors.stats.importance import rank_causes as rank_features

MOST = 5
FAULT, DRIFT = "fault", "drift"
"""Kinds of causes: data that are broken (missing, unseen, out of range), and data that are whole but moved."""


@dataclass(frozen=True)
class _Movement:
    """How far one feature stood from its reference, by the statistic that spoke loudest."""

    feature: str
    metric: str
    value: float
    threshold: float


def rank_causes(*, model: Model, start: datetime, end: datetime, segment: str = "") -> list[dict[str, Any]]:
    """Rank what explains a problem of `[start, end)`, faults first: dicts with kind (`fault` or `drift`), feature,
    score and evidence as a sentence. The score is the share of the rows that are broken, or the share of the blame
    among what drifted. Correlation, not proof."""
    reference = reference_in_use(model=model, version_id=model.deployment.champion_id)
    faults = _quality_faults(model, start, end)
    if reference is None:
        return faults[:MOST]
    movements = _movements(model, reference, start, end, segment)
    ranked = rank_features(
        {m.feature: m.value for m in movements},
        {m.feature: m.threshold for m in movements},
        reference.importance,
    )
    by_name = {m.feature: m for m in movements}
    days = (end - start).days
    drifted = [
        {
            "kind": DRIFT,
            "feature": cause.feature,
            "score": round(cause.share, 4),
            "evidence": _evidence(by_name[cause.feature], reference.importance.get(cause.feature), days),
        }
        for cause in ranked
        if cause.share > 0
    ]
    return (faults + drifted)[:MOST]


def _movements(
    model: Model, reference: ReferenceInUse, start: datetime, end: datetime, segment: str
) -> list[_Movement]:
    """Compare the whole period at once: a single day always differs from months, by its weather and its weekday."""
    summary = merged_summary(model=model, start=start, end=end, segment=segment)
    if summary is None:
        return []
    return [
        _Movement(point.feature, point.metric, point.value or 0.0, point.threshold or 0.0)
        for point in drift_points(
            summary, reference, length=end - start, min_rows=1, method=drift_method(model)
        )
        if point.detail["decides"] and point.feature not in ("prediction", "score")
    ]


def _quality_faults(model: Model, start: datetime, end: datetime) -> list[dict[str, Any]]:
    points = _points(model, start, end).filter(metric__in=QUALITY_METRICS, status__in=("warning", "critical"))
    worst: dict[tuple[str, str], MetricPoint] = {}
    for point in points:
        key = (point.metric, point.feature)
        if key not in worst or (point.value or 0) > (worst[key].value or 0):
            worst[key] = point
    ordered = sorted(worst.values(), key=lambda p: (p.threshold or 0) - (p.value or 0))
    return [
        {
            "kind": FAULT,
            "feature": point.feature,
            "score": round(point.value or 0, 4),
            "evidence": f"{METRICS[point.metric].title.lower()} in {point.feature}: {point.value:.1%} of rows "
            f"(limit {point.threshold:.1%})",
        }
        for point in ordered
    ]


def _points(model: Model, start: datetime, end: datetime):  # type: ignore[no-untyped-def]
    return MetricPoint.objects.filter(
        model=model,
        span="day",
        role="champion",
        version="",
        start__gte=start,
        end__lte=end,
        value__isnull=False,
    )


def _evidence(movement: _Movement, importance: float | None, days: int) -> str:
    leaning = f", importance {importance:.3g}" if importance is not None else ""
    return (
        f"{movement.feature} moved: {METRICS[movement.metric].title} {movement.value:.2f} over {days} days "
        f"against a limit of "
        f"{movement.threshold:.2f}{leaning}"
    )
