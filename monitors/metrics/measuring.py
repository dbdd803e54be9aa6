"""Measures one window with every measure of the registry: what workers store, and what a longer window is asked for."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import DatabaseError

from driftline.base.periods import Period, end_of
from driftline.base.work.attempts import reason_of
from monitors.definitions.models import MonitorKind
from monitors.metrics.answers.segment_summaries import SegmentSummary
from monitors.metrics.catalogue import ESTIMATED, METRICS, measure_of
from monitors.metrics.context import Context, MeasuredSummary, MeasuredWindow
from monitors.metrics.inputs.drift import measure_drift_of
from monitors.metrics.limits import limits_for
from monitors.metrics.measures import SUMMARY_MEASURES, WINDOW_MEASURES, SummaryMeasure, WindowMeasure
from monitors.metrics.store.models import MetricPoint, PointStatus
from monitors.metrics.store.points import Point, Population, row_of
from monitors.stats.performance.estimate import proves_beyond

log = logging.getLogger(__name__)


def points_of(context: Context, segment: SegmentSummary, span: str, start: datetime) -> list[MetricPoint]:
    """Measure every metric of the model's monitors in one summary; the rows are not saved.

    What cannot be measured stops nothing else: its point is an error, and `context.failures` says why.
    """
    window = Period(start, end_of(start, span))
    points: list[Point] = []
    try:
        reference = context.references.of(segment.version_id, window)
    except DatabaseError:
        raise
    except Exception as error:
        reference = None
        points.append(_failed(context, span, start, MonitorKind.DRIFT, error))
    for kind in kinds_measured(context, span):
        measured = MeasuredSummary(context, context.monitors[kind], segment, reference, span, window)
        try:
            points += _measure_kind(kind, measured)
        except DatabaseError:
            raise
        except Exception as error:
            points.append(_failed(context, span, start, kind, error))
    return [
        _row_of(context, segment.population, span, start, point)
        for point in points
        if context.metric in ("", point.metric)
    ]


def _row_of(
    context: Context, population: Population, span: str, start: datetime, point: Point
) -> MetricPoint:
    """Make the row of a point; one of too few rows is judged all the same where its interval proves a breach.

    That may be of its own limit, or of a rule's. What lacks labels, and not rows, proves nothing: those that came first
    are not like the others.
    """
    row = row_of(context.model, population, span, start, point)
    if row.status != PointStatus.INSUFFICIENT or row.value is None or row.metric in ESTIMATED:
        return row
    monitor = context.monitors.get(METRICS[row.metric].kind)
    if monitor and point.detail.get("coverage", 1.0) < monitor.min_label_coverage:
        return row
    proven = next(_limits_proven_broken(context, row), None)
    if proven is not None:
        why = f"Its interval lies beyond {proven:.4g} as a whole, which {row.n:,} rows are enough to tell."
        row.status, row.detail = PointStatus.WARNING, point.detail | {"why_judged": why}
    return row


def _limits_proven_broken(context: Context, row: MetricPoint) -> Iterator[float]:
    for limit in limits_for(context.limits, row):
        if limit.is_proven_by(row):
            yield limit.threshold
    if row.value is None or row.threshold is None or row.metric == "bias":
        return
    is_below = not METRICS[row.metric].lower_is_better
    if proves_beyond(row.value, row.n, row.lower, row.upper, row.threshold, is_below=is_below):
        yield row.threshold


def kinds_measured(context: Context, span: str) -> Iterator[MonitorKind]:
    """List the kinds of the model's monitors that measure windows of a span."""
    for kind, measures in SUMMARY_MEASURES.items():
        monitor = context.monitors.get(kind)
        if monitor and (span != "hour" or "hour" in monitor.spans or measures.measures_every_hour):
            yield kind


def _measure_kind(kind: MonitorKind, measured: MeasuredSummary) -> list[Point]:
    """Measure the metrics of one kind of monitor."""
    measures, metric = SUMMARY_MEASURES[kind], measured.context.metric
    wanted = [
        one for one, written in measures.measures.items() if not metric or measure_of(metric) in written
    ]
    if feature_headline := measures.feature_headline:
        return [
            point
            for measure in wanted
            for point in _measure_sound_features(measure, measured, feature_headline)
        ]
    return [point for measure in wanted for point in measure(measured)]


def _measure_sound_features(measure: SummaryMeasure, measured: MeasuredSummary, headline: str) -> list[Point]:
    """Measure all features of a summary; where that fails, those that do not fail alone, and `headline` of the others
    as an error.
    """
    try:
        return measure(measured)
    except DatabaseError:
        raise
    except Exception:
        failed = _failing_features(measure, measured)
        if not failed:
            raise
    summary = measured.segment.summary
    sound = {name: column for name, column in summary.features.items() if name not in failed}
    points = measure(_with_summary(measured, features=sound))
    for name, error in failed.items():
        why = _note(measured.context, (measured.span, measured.window.start), error, f"{name}: ")
        points.append(Point(headline, None, 0, PointStatus.ERROR, feature=name, detail={"why": why}))
    return points


def _failing_features(measure: SummaryMeasure, measured: MeasuredSummary) -> dict[str, Exception]:
    failed: dict[str, Exception] = {}
    for name, column in measured.segment.summary.features.items():
        try:
            measure(_with_summary(measured, features={name: column}, prediction=None, score=None))
        except DatabaseError:
            raise
        except Exception as error:
            failed[name] = error
    return failed


def _with_summary(measured: MeasuredSummary, **changed: Any) -> MeasuredSummary:
    summary = replace(measured.segment.summary, **changed)
    return replace(measured, segment=replace(measured.segment, summary=summary))


def _failed(context: Context, span: str, start: datetime, kind: MonitorKind, error: Exception) -> Point:
    why = _note(context, (span, start), error, f"{kind.label}: ")
    return Point(SUMMARY_MEASURES[kind].headline, None, 0, PointStatus.ERROR, detail={"why": why})


def _note(context: Context, window: tuple[str, datetime], error: Exception, what: str) -> str:
    log.error("not measured", exc_info=error, extra={"model": context.model.pk, "window": str(window)})
    why = f"{what}{reason_of(error)}"
    reasons = context.failures.setdefault(window, [])
    if why not in reasons:
        reasons.append(why)
    return why


def drift_rows_of(
    context: Context, feature: str, segment: SegmentSummary, span: str, start: datetime
) -> list[MetricPoint] | None:
    """Measure the drift of one feature; None where it depends on the others, which the summary may lack."""
    monitor = context.monitors.get(MonitorKind.DRIFT)
    if monitor is None:
        return []
    window = Period(start, end_of(start, span))
    reference = context.references.of(segment.version_id, window)
    measured = MeasuredSummary(context, monitor, segment, reference, span, window)
    points = measure_drift_of(feature, measured)
    if points is None:
        return None
    return [row_of(context.model, segment.population, span, start, point) for point in points]


def window_rows(measured: MeasuredWindow) -> list[MetricPoint]:
    """Measure what is measured of a window as a whole; the rows are not saved."""
    return [row for measure in WINDOW_MEASURES for row in rows_of_measure(measure, measured)]


def rows_of_measure(measure: WindowMeasure, measured: MeasuredWindow) -> list[MetricPoint]:
    """Measure a window as a whole with one measure; the rows are not saved."""
    context, span, start = measured.context, measured.span, measured.window.start
    return [_row_of(context, population, span, start, point) for population, point in measure(measured)]
