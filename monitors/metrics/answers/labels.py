"""How late labels come, and which predicted classes get theirs: labels that are missing are not missing at random."""

from datetime import datetime

from inference.signatures import Signature
from monitors.metrics.answers.performance import Ripeness, ripeness_of
from monitors.metrics.context import MeasuredSummary
from monitors.metrics.store.models import PointStatus
from monitors.metrics.store.points import MAX_FEATURE_LENGTH, Point, judged_by_rows
from monitors.stats.mergeable.outcomes import BinaryOutcomeSummary, MulticlassOutcomeSummary
from monitors.stats.mergeable.sketches import CategoricalSummary
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.stats.performance.estimate import wilson_interval

LAGS = {"label_lag_p50": 0.5, "label_lag_p95": 0.95}
MAX_CLASSES = 20  # the most frequent answers; a point each


def measure_labels(measured: MeasuredSummary) -> list[Point]:
    """Measure the labels of all that callers were answered; not of hours that have too few and that nobody judges."""
    segment, context = measured.segment, measured.context
    if not (segment.is_champion and segment.is_whole):
        return []
    if measured.span == "hour" and not measured.may_be_judged:
        return []
    hours = context.model.objectives.get("label_lag_hours")
    return label_points(
        segment.summary,
        context.signature_of(segment.version_id),
        end=measured.window.end,
        ripeness=ripeness_of(measured),
        lag_objective_s=3_600 * float(hours) if hours else None,
    )


def label_points(
    summary: WindowSummary,
    signature: Signature,
    *,
    end: datetime,
    ripeness: Ripeness,
    lag_objective_s: float | None,
) -> list[Point]:
    """Measure the lag of the labels that have come, in seconds, and the share of each predicted class that has one.

    The limit of the lag's 95th percentile is the model's objective. A class is the point's `feature`. Until labels
    have had their time to come both tell only of the early ones, so they are unripe.
    """
    coverage = summary.labelled / summary.rows if summary.rows else 0.0
    is_ripe = ripeness.ended_until >= ripeness.ripe_at(end, coverage)
    points = _lags(summary, ripeness.min_rows, lag_objective_s)
    points += [
        _coverage(name, rows, labelled, ripeness.min_rows)
        for name, rows, labelled in _classes(summary, signature)
    ]
    return points if is_ripe else [_unripe(point) for point in points]


def _lags(summary: WindowSummary, min_rows: int, objective_s: float | None) -> list[Point]:
    lag = summary.label_lag_s
    if lag is None or not lag.n:
        return []
    points = []
    for metric, share in LAGS.items():
        value = float(lag.quantile(share))
        limit = objective_s if metric == "label_lag_p95" else None
        status = judged_by_rows(value, lag.n, min_rows)
        if status == PointStatus.OK and limit and value > limit:
            status = PointStatus.WARNING
        points.append(Point(metric, value, lag.n, status, threshold=limit))
    return points


def _coverage(name: str, rows: int, labelled: int, min_rows: int) -> Point:
    lower, upper = wilson_interval(labelled, rows)
    share = labelled / rows
    status = judged_by_rows(share, rows, min_rows)
    return Point("label_coverage_by_class", share, rows, status, feature=name, lower=lower, upper=upper)


def _unripe(point: Point) -> Point:
    return Point(
        point.metric,
        point.value,
        point.n,
        PointStatus.UNRIPE,
        point.feature,
        point.lower,
        point.upper,
        point.threshold,
    )


def _classes(summary: WindowSummary, signature: Signature) -> list[tuple[str, int, int]]:
    """List the predicted classes with their rows and how many of those have a label that names a class."""
    answers, outcome = summary.prediction, summary.outcome
    if not isinstance(answers, CategoricalSummary):
        return []
    labelled: dict[str, int] = {}
    if isinstance(outcome, BinaryOutcomeSummary):
        positive = signature.positive_class or ""
        others = [name for name in answers.counts if name != positive]
        if len(others) > 1:
            return []  # the outcome does not keep them apart
        labelled = {positive: outcome.tp + outcome.fp} | dict.fromkeys(others, outcome.tn + outcome.fn)
    elif isinstance(outcome, MulticlassOutcomeSummary):
        labelled = dict(zip(outcome.classes, outcome.confusion.sum(axis=0).tolist(), strict=True))
    frequent = sorted(answers.counts.items(), key=lambda found: (-found[1], found[0]))[:MAX_CLASSES]
    return [
        (name, rows, min(labelled.get(name, 0), rows))
        for name, rows in frequent
        if 0 < len(name) <= MAX_FEATURE_LENGTH and rows
    ]
