"""Why: faults of data and labels first, then features by how much they moved times how much the model leans on them.

Each kind comes in order of its scores. Faults that explain little come after what drifted: those of few rows, and a
value that is more frequent than it was.
Of a metric of performance also the segments whose rows got worse, after the two causes that come first.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from django.db import transaction

from driftline.base.number_format import format_number, format_pair
from driftline.base.periods import Period, longest, named, overlap, rfc3339
from inference.registry.models import Model, RowsKept
from monitors.definitions.models import MonitorKind
from monitors.definitions.monitors import span_of
from monitors.definitions.segment_masks import features_of_segment
from monitors.definitions.services import drift_method
from monitors.metrics.catalogue import ANSWER_COLUMNS, METRICS, QUALITY_METRICS
from monitors.metrics.explaining.fault_places import find_fault_place
from monitors.metrics.inputs.drift import drift_points
from monitors.metrics.inputs.quality import is_mere_tie
from monitors.metrics.periods import merged_summary
from monitors.metrics.references.loaded import LoadedReference, reference_in_use
from monitors.metrics.references.seasons import in_season
from monitors.metrics.rows.segment_search import LOSS_OF_METRIC, LOSSES, findings_for
from monitors.metrics.store.models import MetricPoint, PointStatus, RowLoss
from monitors.stats.causes.importance import rank_causes as rank_features
from monitors.stats.segments.search import FoundSegment

log = logging.getLogger(__name__)

MAX_CAUSES = 5
FIRST = 2  # causes that come before segments: messages tell three
MAX_SEGMENTS = 2
FAULT, LABELS, DRIFT, SEGMENT = "fault", "labels", "drift", "segment"
"""Kinds of causes: data that are broken (missing, unseen, out of range), labels that are late or stay away, data that
are whole but moved, and rows that got worse than others."""
USUAL_DAYS, USUAL_WINDOWS = timedelta(days=28), 4  # whichever is longer
FEW = 0.5  # of the labels that usually come
OF_NO_ROWS = ("silence", "freshness", "ingest_lag")
"""Metrics of rows that did not come: what those before them hold explains nothing of that."""
MINOR = 0.01  # of the rows: a fault of fewer explains no more of a metric than that


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
    loss's rise (or of the loss) that a segment explains. Each kind is in order of score, but for faults that are minor:
    they come after what drifted. None of rows that did not come. Correlation, not proof."""
    if metric in OF_NO_ROWS:
        return []
    is_about_data = metric in METRICS and METRICS[metric].kind == MonitorKind.QUALITY
    broken = _quality_faults(model, start, end)
    minor = [point for point in broken if _is_minor(point, is_about_data=is_about_data)]
    major = [point for point in broken if point not in minor]
    # Where a fault lies takes reading its hours: of those that nobody will see it is not asked.
    faults = [_fault(model, point) for point in major[:MAX_CAUSES]] + _label_faults(model, start, end)
    others = sorted(faults, key=_by_score) + _drifted(model, start, end, segment)
    others += [_fault(model, point) for point in minor[: max(MAX_CAUSES - len(others), 0)]]
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
    window, judged = Period(start, end), summary.without(features_of_segment(model, segment))
    points = drift_points(
        judged, in_season(reference, window), window=window, min_rows=1, method=drift_method(model)
    )
    return [
        _Movement(point.feature, point.metric, point.value or 0.0, point.threshold or 0.0)
        for point in points
        if point.detail["decides"] and point.feature not in ANSWER_COLUMNS
    ]


def _quality_faults(model: Model, start: datetime, end: datetime) -> list[MetricPoint]:
    """Find the worst window of each fault of each feature, the fault of the largest share of rows first."""
    judged = points_of_windows(model, span_of(model, MonitorKind.QUALITY), start, end)
    points = judged.filter(metric__in=QUALITY_METRICS, status__in=("warning", "critical"))
    worst: dict[tuple[str, str], MetricPoint] = {}
    for point in points:
        if point.metric == "impossible_share" and not (point.detail or {}).get("is_repeated"):
            continue  # a single row explains nothing
        key = (point.metric, point.feature)
        if key not in worst or (point.value or 0) > (worst[key].value or 0):
            worst[key] = point
    return sorted(worst.values(), key=lambda point: (-(point.value or 0), point.feature, point.metric))


def _is_minor(point: MetricPoint, *, is_about_data: bool) -> bool:
    """Return whether a fault may not come first: a tie, a lone row, or few where the problem is not the data's."""
    share = point.value or 0.0
    return is_mere_tie(point) or round(share * point.n) <= 1 or (share < MINOR and not is_about_data)


def _fault(model: Model, point: MetricPoint) -> dict[str, Any]:
    """Describe a fault, with the segment that holds it and the hour it began where these are known."""
    reference = reference_in_use(
        model=model, version_id=model.deployment.champion_id, window=Period(point.start, point.end)
    )
    place = find_fault_place(model, point, reference)
    known, where = dict[str, Any](), ""
    if place is not None and place.segment:
        known["segment"] = place.segment
        where += f", nearly all where {place.segment} ({place.share:.1%} of its rows)"
    if place is not None and place.since is not None:
        known["since"] = rfc3339(place.since)
        where += f", since {place.since:%-d %b %H:%M} UTC"
    return {
        "kind": FAULT,
        "feature": point.feature,
        "score": round(point.value or 0, 4),
        "evidence": f"{METRICS[point.metric].title.lower()} in {point.feature}: {point.value:.1%} of rows "
        f"{'on' if point.span in ('hour', 'day') else 'in'} {_when(point.start, point.span)} "
        f"(limit {point.threshold or 0:.1%}){where}",
        **known,
    }


def _by_score(cause: dict[str, Any]) -> float:
    return -float(cause["score"])


def _label_faults(model: Model, start: datetime, end: datetime) -> list[dict[str, Any]]:
    """Find windows with labels that came later than the objective, or with far fewer than in the weeks before."""
    span = span_of(model, MonitorKind.PERFORMANCE)
    faults = [_missing_labels(model, span, start, end), _late_labels(model, span, start, end)]
    return [
        {"kind": LABELS, "feature": "label", "score": round(score, 4), "evidence": evidence}
        for score, evidence in filter(None, faults)
    ]


def _missing_labels(model: Model, span: str, start: datetime, end: datetime) -> tuple[float, str] | None:
    since = end - max(USUAL_DAYS, USUAL_WINDOWS * longest(span))
    points = points_of_windows(model, span, since, end).filter(metric="label_coverage", status=PointStatus.OK)
    shares = list(points.values_list("value", "start", "end"))
    inside = [share for share in shares if share[2] > start]
    if not inside:
        return None
    (least, worst, _), usual = min(inside), median(share for share, *_ in shares)
    if least >= FEW * usual:
        return None
    return (
        1 - least / usual,
        f"label coverage of {_when(worst, span)} {least:.0%}, usually {usual:.0%}",
    )


def _late_labels(model: Model, span: str, start: datetime, end: datetime) -> tuple[float, str] | None:
    late = points_of_windows(model, span, start, end).filter(
        metric="label_lag_p95", status=PointStatus.WARNING
    )
    point = late.order_by("-value").first()
    if point is None or not point.value or not point.threshold:
        return None
    hours, limit = point.value / 3_600, point.threshold / 3_600
    waited, allowed = format_pair(hours, limit)
    evidence = (
        f"label lag of {_when(point.start, span)} up to {waited} h (95th percentile), objective {allowed} h"
    )
    return 1 - limit / hours, evidence


def _when(start: datetime, span: str) -> str:
    """Name a window by its start: `5 Jan`, `5 Jan 14:00`, `the week from 5 Jan`."""
    if span in ("hour", "day"):
        return f"{start:%-d %b}" + (f" {start:%H:%M}" if span == "hour" else "")
    return f"the {named(span).removeprefix('last ')} from {start:%-d %b}"


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
    usual = "new" if one.usual is None else f"usually {format_number(one.usual)} apart"
    score, whole = (one.share, "rise") if one.share is not None else (min(one.harm / (mean or 1), 1), "loss")
    evidence = (
        f"{loss.label.lower()} {format_number(one.inside)} where {one.name}, "
        f"{format_number(one.outside)} elsewhere, {usual}: {score:.0%} of the {whole} (n={one.n:,})"
    )
    return {"kind": SEGMENT, "segment": one.name, "score": round(score, 4), "evidence": evidence}


def points_of_windows(model: Model, span: str, start: datetime, end: datetime):  # type: ignore[no-untyped-def]
    """Select what is known of the windows of a span that `[start, end)` touches; of those that roll with their last
    day.
    """
    return MetricPoint.objects.filter(
        model=model,
        span=span,
        role="champion",
        version="",
        segment="",
        start__gt=start - longest(span),  # which the index knows
        start__lt=end - overlap(span),
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
