"""Drift of each feature, of the answer and of its score, against the reference and calibrated limits."""

from collections.abc import Iterable
from datetime import timedelta

from monitors.metrics.catalogue import ANSWER_COLUMNS
from monitors.metrics.context import MeasuredSummary
from monitors.metrics.models import PointStatus
from monitors.metrics.points import Point, count_of_features, judged_by_rows
from monitors.metrics.references.loaded import (
    LoadedReference,
    annotate_reference,
    watched_columns,
)
from monitors.metrics.references.nulls import nulls_of
from monitors.stats.drift.judging import FeatureDrift, Method, judge_alone, judge_drift
from monitors.stats.drift.thresholds import grid_size
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary

CRITICAL_TIMES = 4.0  # a statistic this many times beyond its limit is critical


def measure_drift(measured: MeasuredSummary) -> list[Point]:
    """Measure how far what callers were answered drifted, and how many features did; nothing without a reference."""
    reference, summary, monitor = measured.reference, measured.segment.summary, measured.monitor
    if reference is None or not measured.segment.is_champion:
        return []
    points = drift_points(
        summary,
        reference,
        length=measured.window.length,
        min_rows=monitor.min_rows,
        method=monitor.method,
    )
    count = drifted_features(points, summary.rows, monitor.min_rows)
    return [*points, *annotate_reference([count], reference)]


def measure_drift_of(feature: str, measured: MeasuredSummary) -> list[Point] | None:
    """Measure the drift of one feature; None where it depends on the others, which the summary may lack."""
    reference, monitor = measured.reference, measured.monitor
    if reference is None or not measured.segment.is_champion:
        return []
    return drift_points_of(
        feature,
        measured.segment.summary,
        reference,
        length=measured.window.length,
        min_rows=monitor.min_rows,
        method=monitor.method,
    )


def drift_points(
    summary: WindowSummary,
    reference: LoadedReference,
    *,
    length: timedelta,
    min_rows: int,
    method: str = Method.COMBINED,
) -> list[Point]:
    """Measure every statistic of every column that the reference knows, in a window of some length.

    Statuses are raised only where a feature stands out among all features (Benjamini-Hochberg): of the statistics
    beyond their own limits, and of the psi, which stands for its feature wherever one line has to. A column that is
    of numbers on one side and of categories on the other is left out.
    """
    current = _comparable(summary, reference)
    sizes = [(name, grid_size(column.rows)) for name, column in current.items()]
    nulls = nulls_of(reference, sizes, reference.days_in(length))
    judged = judge_drift(
        reference.columns, current, lambda column, size: nulls[column, size], method=Method(method)
    )
    points = [point for drift in judged.values() for point in _points(drift, min_rows, method)]
    return annotate_reference(points, reference)


def drift_points_of(
    feature: str,
    summary: WindowSummary,
    reference: LoadedReference,
    *,
    length: timedelta,
    min_rows: int,
    method: str = Method.COMBINED,
) -> list[Point] | None:
    """Measure as `drift_points` does, of a summary that may lack the other features; None where they have a say."""
    column = _comparable(summary, reference).get(feature)
    if column is None:
        return []
    size = feature, grid_size(column.rows)
    null = nulls_of(reference, [size], reference.days_in(length))[size]
    drift = judge_alone(
        reference.columns[feature],
        column,
        feature,
        lambda _, __: null,
        among=len(watched_columns(reference.summary)),
        method=Method(method),
    )
    return annotate_reference(_points(drift, min_rows, method), reference) if drift else None


def _comparable(summary: WindowSummary, reference: LoadedReference) -> dict[str, ColumnSummary]:
    known = watched_columns(reference.summary)
    return {
        name: column
        for name, column in watched_columns(summary).items()
        if name in known and type(column) is type(known[name])
    }


def drifted_features(points: Iterable[Point], rows: int, min_rows: int) -> Point:
    """Count the features that drifted, by the `points` of a window of so many rows; the answer is no feature."""
    inputs = [point for point in points if point.feature not in ANSWER_COLUMNS]
    return count_of_features("drifted_features", inputs, rows, min_rows)


def _points(drift: FeatureDrift, min_rows: int, method: str) -> list[Point]:
    points = []
    for name, judgement in drift.statistics.items():
        status = judged_by_rows(judgement.value, drift.n, min_rows)
        if status == PointStatus.OK and drift.drifted and (judgement.exceeds or name == "psi"):
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
                    "decided_by": drift.decided_by,
                    "decision_p_value": drift.p_value,
                    "method": str(method),
                },
            )
        )
    return points
