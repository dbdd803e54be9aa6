"""Drift of each feature, of the answer and of its score, against the reference and calibrated limits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from driftline.base.periods import Period
from inference.vector_names import vectors_in, whole_of
from monitors.metrics.catalogue import ANSWER_COLUMNS
from monitors.metrics.context import MeasuredSummary
from monitors.metrics.references.loaded import (
    LoadedReference,
    annotate_reference,
    watched_columns,
)
from monitors.metrics.references.nulls import nulls_of
from monitors.metrics.references.seasons import advice_for, in_season
from monitors.metrics.store.models import PointStatus
from monitors.metrics.store.points import Point, count_of_features, judged_by_rows
from monitors.stats.drift.distances import kernels_for, kind_of
from monitors.stats.drift.judged import FeatureDrift
from monitors.stats.drift.judging import Method, judge_alone, judge_drift
from monitors.stats.drift.thresholds import grid_size
from monitors.stats.drift.vectors import mean_shift
from monitors.stats.mergeable.sketches import NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary

CRITICAL_TIMES = 4.0  # a statistic this many times beyond its limit is critical


def measure_drift(measured: MeasuredSummary) -> list[Point]:
    """Measure how far what callers were answered drifted, and how many features did; nothing without a reference."""
    reference, summary, monitor = measured.reference, measured.segment.summary, measured.monitor
    if reference is None or not measured.segment.is_champion or not measured.may_be_judged:
        return []
    summary = summary.without(measured.context.segments.features_of(measured.segment.segment))
    points = (
        _unjudged(summary, reference)
        if summary.rows < monitor.min_rows
        else drift_points(
            summary,
            in_season(reference, measured.window),
            window=measured.window,
            min_rows=monitor.min_rows,
            method=monitor.method,
        )
    )
    count = drifted_features(points, summary.rows, monitor.min_rows)
    return [*points, *annotate_reference([count], reference)]


def measure_drift_of(feature: str, measured: MeasuredSummary) -> list[Point] | None:
    """Measure the drift of one feature; None where it depends on the others, which the summary may lack."""
    reference, summary, monitor = measured.reference, measured.segment.summary, measured.monitor
    if reference is None or not measured.segment.is_champion or not measured.may_be_judged:
        return []
    if feature in measured.context.segments.features_of(measured.segment.segment):
        return []
    if summary.rows < monitor.min_rows:
        return [point for point in _unjudged(summary, reference) if point.feature == feature]
    return drift_points_of(
        feature,
        summary,
        in_season(reference, measured.window),
        window=measured.window,
        min_rows=monitor.min_rows,
        method=monitor.method,
    )


def drift_points(
    summary: WindowSummary,
    reference: LoadedReference,
    *,
    window: Period,
    min_rows: int,
    method: str = Method.COMBINED,
) -> list[Point]:
    """Measure every statistic of every column that the reference knows; it is the one `in_season`.

    Statuses are raised only where a feature stands out among all features (Benjamini-Hochberg): of the statistics
    beyond their own limits, and of the psi, which stands for its feature wherever one line has to. A column that is
    of numbers on one side and of categories on the other is left out.
    """
    current = _comparable(summary, reference)
    vectors = vectors_in(current)
    sizes = [(name, grid_size(column.rows)) for name, column in current.items()]
    nulls = nulls_of(reference, sizes, reference.days_in(window.length))
    judged = judge_drift(
        reference.columns,
        current,
        lambda column, size: nulls[column, size],
        method=Method(method),
        vectors=vectors,
    )
    advice_of = partial(advice_for, reference, window)
    points = [
        point
        for drift in judged.values()
        for point in _points(drift, min_rows, method, reference.id, advice_of)
    ]
    points += [
        _shift_of(judged[name], current, reference, parts, min_rows) for name, parts in vectors.items()
    ]
    return annotate_reference(points, reference)


def drift_points_of(
    feature: str,
    summary: WindowSummary,
    reference: LoadedReference,
    *,
    window: Period,
    min_rows: int,
    method: str = Method.COMBINED,
) -> list[Point] | None:
    """Measure as `drift_points` does, of a summary that may lack the other features; None where they have a say."""
    if feature in vectors_in(reference.summary.features):
        return None
    column = _comparable(summary, reference).get(feature)
    if column is None or feature in whole_of(reference.summary.features):
        return []
    size = feature, grid_size(column.rows)
    null = nulls_of(reference, [size], reference.days_in(window.length))[size]
    drift = judge_alone(
        reference.columns[feature],
        column,
        feature,
        lambda _, __: null,
        among=len(watched_columns(reference.summary)),
        method=Method(method),
    )
    if drift is None:
        return None
    points = _points(drift, min_rows, method, reference.id, partial(advice_for, reference, window))
    return annotate_reference(points, reference)


def _unjudged(summary: WindowSummary, reference: LoadedReference) -> list[Point]:
    """Name the statistics that too few rows are not measured by: their draws would cost more than they tell."""
    columns = _comparable(summary, reference)
    vector_of = whole_of(columns)
    points = {
        (kernel.name, vector_of.get(name, name)): Point(
            kernel.name, None, column.rows, PointStatus.INSUFFICIENT, feature=vector_of.get(name, name)
        )
        for name, column in columns.items()
        for kernel in kernels_for(kind_of(column))
    }
    return annotate_reference(points.values(), reference)


def _comparable(summary: WindowSummary, reference: LoadedReference) -> dict[str, ColumnSummary]:
    known = watched_columns(reference.summary)
    return {
        name: column
        for name, column in watched_columns(summary).items()
        if name in known and type(column) is type(known[name])
    }


def drifted_features(points: Iterable[Point], rows: int, min_rows: int) -> Point:
    """Count the features that drifted, by the `points` of a window of so many rows; the answer is no feature.

    Where no feature's limits tell anything the count does not either.
    """
    inputs = [point for point in points if point.feature not in ANSWER_COLUMNS]
    count = count_of_features("drifted_features", inputs, rows, min_rows)
    without_verdict = [point for point in inputs if point.status == PointStatus.NOT_INFORMATIVE]
    if count.status != PointStatus.OK or not inputs or len(without_verdict) < len(inputs):
        return count
    return replace(
        count,
        status=PointStatus.NOT_INFORMATIVE,
        detail=count.detail | {name: without_verdict[0].detail[name] for name in ("why", "advice")},
    )


def _shift_of(
    drift: FeatureDrift,
    current: Mapping[str, ColumnSummary],
    reference: LoadedReference,
    parts: Sequence[str],
    min_rows: int,
) -> Point:
    """Measure how far the mean of vectors moved; it says how large a drift is, and decides nothing."""
    directions = parts[:-1]  # the last one is the length
    known, now = (
        [column for name in directions if isinstance(column := columns[name], NumericSummary)]
        for columns in (reference.summary.features, current)
    )
    shift, limit = mean_shift(known, now)
    by_days = any(days is not None and days.differ for name in directions if (days := reference.days[name]))
    status = judged_by_rows(shift.value, drift.n, min_rows)
    if status == PointStatus.OK and drift.drifted and shift.value >= limit and not by_days:
        status = PointStatus.CRITICAL if shift.value >= CRITICAL_TIMES * limit else PointStatus.WARNING
    why = (
        "Days of the reference differ: no limit is drawn of the mean, and the statistics by day decide."
        if by_days
        else f"At {drift.n} rows chance moves the mean by {limit:.3g} of the spread in 1% of windows at most."
    )
    return Point(
        "mean_shift",
        shift.value,
        drift.n,
        status,
        feature=drift.feature,
        threshold=None if by_days else limit,
        detail={"p_value": None if by_days else shift.p_value, "why": why, "decides": False},
    )


def _points(
    drift: FeatureDrift, min_rows: int, method: str, reference_id: int, advice_of: Callable[[str], str]
) -> list[Point]:
    points = []
    decision = {"decision_p_value": drift.p_value}
    # What `evidence.py` goes by: the psi stands for its feature.
    basis = {"reference_id": reference_id, "reference_windows": round(drift.reference_windows, 1)}
    for name, judgement in drift.statistics.items():
        status = judged_by_rows(judgement.value, drift.n, min_rows)
        if status == PointStatus.OK and drift.drifted and (judgement.exceeds or name == "psi"):
            beyond = judgement.value >= CRITICAL_TIMES * judgement.threshold
            status = PointStatus.CRITICAL if beyond else PointStatus.WARNING
        elif status == PointStatus.OK and not judgement.is_informative:
            status = PointStatus.NOT_INFORMATIVE
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
                    "method": str(method),
                }
                | (decision if name in (drift.decided_by, "psi") else {})
                | ({"column": drift.column} if drift.column else {})
                | (basis if name == "psi" else {})
                | ({} if judgement.is_informative else {"advice": advice_of(drift.feature)}),
            )
        )
    return points
