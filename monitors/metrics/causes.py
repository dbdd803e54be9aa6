"""Why: faults of data and labels first, then features by how much they moved times how much the model leans on them.

Of a metric of performance also the segments whose rows got worse, after the two causes that come first.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from django.db import transaction

from driftline.common.periods import Period
from inference.registry.models import Model, RowsKept
from monitors.definitions.services import drift_method
from monitors.metrics.catalogue import ANSWER_COLUMNS, METRICS, QUALITY_METRICS
from monitors.metrics.drift import drift_points
from monitors.metrics.models import MetricPoint, PointStatus, RowLoss
from monitors.metrics.periods import merged_summary
from monitors.metrics.references.loaded import LoadedReference, reference_in_use
from monitors.metrics.rows.segment_search import LOSS_OF_METRIC, LOSSES, findings_for
from monitors.stats.causes.importance import rank_causes as rank_features
from monitors.stats.segments.search import FoundSegment

log = logging.getLogger(__name__)

MAX_CAUSES = 5
FIRST = 2  # causes that come before segments: messages tell three
MAX_SEGMENTS = 2
FAULT, LABELS, DRIFT, SEGMENT = "fault", "labels", "drift", "segment"
"""Kinds of causes: data that are broken (missing, unseen, out of range), labels that are late or stay away, data that
are whole but moved, and rows that got worse than others."""
USUAL_DAYS = timedelta(days=28)
FEW = 0.5  # of the labels that usually come
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class _Movement:
    """How far one feature stood from its reference, by the statistic that spoke loudest."""

    feature: str
    metric: str
    value: float
    threshold: float


def rank_causes(
    *, model: Model, start: datetime, end: datetime, segment: str = "", metric: str = ""
) -> list[dict[str, Any]]:
    """Rank what explains a problem of `[start, end)`, faults first: dicts with kind (`fault`, `labels`, `drift` or
    `segment`), feature (of labels `label`) or segment, score and evidence as a sentence. The score is the share of the
    rows that are broken or lack what they should have, the share of the blame among what drifted, or the share of the
    loss's rise (or of the loss) that a segment explains. Correlation, not proof."""
    faults = _quality_faults(model, start, end) + _label_faults(model, start, end)
    others = faults + _drifted(model, start, end, segment)
    worse = [] if segment else _worse_segments(model, Period(start, end), metric)
    return (others[:FIRST] + worse + others[FIRST:])[:MAX_CAUSES]


def _drifted(model: Model, start: datetime, end: datetime, segment: str) -> list[dict[str, Any]]:
    reference = reference_in_use(
        model=model, version_id=model.deployment.champion_id, window=Period(start, end)
    )
    if reference is None or reference.lacks:
        return []
    movements = _movements(model, reference, start, end, segment)
    ranked = rank_features(
        {m.feature: m.value for m in movements},
        {m.feature: m.threshold for m in movements},
        reference.importance,
    )
    by_name = {m.feature: m for m in movements}
    days = (end - start).days
    return [
        {
            "kind": DRIFT,
            "feature": cause.feature,
            "score": round(cause.share, 4),
            "evidence": _evidence(by_name[cause.feature], reference.importance.get(cause.feature), days),
        }
        for cause in ranked
        if cause.share > 0
    ]


def _movements(
    model: Model, reference: LoadedReference, start: datetime, end: datetime, segment: str
) -> list[_Movement]:
    """Compare the whole period at once, by what periods of its length showed in the reference."""
    summary = merged_summary(model=model, start=start, end=end, segment=segment)
    if summary is None:
        return []
    return [
        _Movement(point.feature, point.metric, point.value or 0.0, point.threshold or 0.0)
        for point in drift_points(
            summary, reference, length=end - start, min_rows=1, method=drift_method(model)
        )
        if point.detail["decides"] and point.feature not in ANSWER_COLUMNS
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


def _label_faults(model: Model, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Find days whose labels came later than the objective, or far fewer than in the weeks before."""
    sentences = [_missing_labels(model, start, end), _late_labels(model, start, end)]
    return [
        {"kind": LABELS, "feature": "label", "score": round(score, 4), "evidence": evidence}
        for score, evidence in filter(None, sentences)
    ]


def _missing_labels(model: Model, start: datetime, end: datetime) -> tuple[float, str] | None:
    points = _points(model, end - USUAL_DAYS, end).filter(metric="label_coverage", status=PointStatus.OK)
    shares = dict(points.values_list("start", "value"))
    inside = [(share, at) for at, share in shares.items() if at > start - _DAY]
    if not inside:
        return None
    (least, day), usual = min(inside), median(shares.values())
    if least >= FEW * usual:
        return None
    return 1 - least / usual, f"labels of {least:.0%} of the rows of {day:%-d %b} came, usually {usual:.0%}"


def _late_labels(model: Model, start: datetime, end: datetime) -> tuple[float, str] | None:
    late = _points(model, start, end).filter(metric="label_lag_p95", status=PointStatus.WARNING)
    point = late.order_by("-value").first()
    if point is None or not point.value or not point.threshold:
        return None
    hours, limit = point.value / 3_600, point.threshold / 3_600
    evidence = f"labels of {point.start:%-d %b} came after up to {hours:.3g} h (95th percentile), beyond {limit:.3g} h"
    return 1 - limit / hours, evidence


def _worse_segments(model: Model, window: Period, metric: str) -> list[dict[str, Any]]:
    """Find segments that got worse by the loss that stands for a metric; none without rows or weeks before."""
    loss = LOSS_OF_METRIC.get(metric)
    if loss not in LOSSES[model.task] or model.rows_kept == RowsKept.NONE:
        return []
    try:
        with transaction.atomic():
            findings = findings_for(model=model, window=window, loss=loss, actor="rules")
    except Exception:  # an incident opens whatever the rows hold, be it without this cause
        log.exception("segment search failed", extra={"model": model.pk})
        return []
    if not findings.n_before:  # what was always harder explains nothing
        return []
    return [_worse(one, loss, findings.found.mean) for one in findings.found.found[:MAX_SEGMENTS]]


def _worse(one: FoundSegment, loss: RowLoss, mean: float | None) -> dict[str, Any]:
    """Score a segment by its share of the rise; where the loss as a whole did not rise, by that of the loss."""
    usual = "new" if one.usual is None else f"usually {one.usual:+.3g} apart"
    score, whole = (one.share, "rise") if one.share is not None else (min(one.harm / (mean or 1), 1), "loss")
    sentences = (
        f"{loss.label.lower()} {one.inside:.3g} where {one.name}, {one.outside:.3g} elsewhere, {usual}: "
        f"{score:.0%} of the {whole} (n={one.n:,})"
    )
    return {"kind": SEGMENT, "segment": one.name, "score": round(score, 4), "evidence": sentences}


def _points(model: Model, start: datetime, end: datetime):  # type: ignore[no-untyped-def]
    """Select what is known of the days that `[start, end)` touches."""
    return MetricPoint.objects.filter(
        model=model,
        span="day",
        role="champion",
        version="",
        start__lt=end,
        end__gt=start,
        value__isnull=False,
    )


def _evidence(movement: _Movement, importance: float | None, days: int) -> str:
    leaning = f", importance {importance:.3g}" if importance is not None else ""
    length = f"{days} day{'s' if days != 1 else ''}"
    return (
        f"{movement.feature} moved: {METRICS[movement.metric].title} {movement.value:.2f} over {length} "
        f"against a limit of {movement.threshold:.2f}{leaning}"
    )
