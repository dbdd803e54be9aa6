"""Drift of each feature, of the answer and of its score, against the reference and calibrated limits."""

from monitors.metrics.models import PointStatus
from monitors.metrics.points import Point, judged_by_rows
from monitors.metrics.references import ReferenceInUse, watched_columns
from monitors.stats.drift import FeatureDrift, judge_drift
from monitors.stats.window_summary import WindowSummary

CRITICAL_TIMES = 4.0  # a statistic this many times beyond its limit is critical


def drift_points(summary: WindowSummary, reference: ReferenceInUse, *, min_rows: int) -> list[Point]:
    """Measure every statistic of every column that the reference knows.

    Only the deciding statistic of a feature raises its status, and only where the feature stands out among all
    features (Benjamini-Hochberg); the others are shown with their own limits.
    """
    current = {name: column for name, column in watched_columns(summary).items() if name in reference.columns}
    judged = judge_drift(reference.columns, current, reference.null_of)
    return [point for drift in judged.values() for point in _points(drift, min_rows)]


def _points(drift: FeatureDrift, min_rows: int) -> list[Point]:
    points = []
    for name, judgement in drift.statistics.items():
        status = judged_by_rows(judgement.value, drift.n, min_rows)
        if status == PointStatus.OK and drift.drifted and judgement.exceeds:
            beyond = judgement.value >= CRITICAL_TIMES * judgement.threshold
            status = PointStatus.CRITICAL if beyond else PointStatus.WARNING
        points.append(
            Point(
                name,
                judgement.value,
                drift.n,
                status,
                feature=drift.feature,
                threshold=judgement.threshold,
                detail={
                    "p_value": judgement.p_value,
                    "why": judgement.reason,
                    "decides": name == drift.decided_by,
                },
            )
        )
    return points
