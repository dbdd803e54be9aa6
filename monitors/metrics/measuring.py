"""Measures one window with every measure of the registry: what workers store, and what a longer window is asked for."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.db import DatabaseError

from driftline.common.attempts import reason_of
from driftline.common.periods import Period, following
from monitors.definitions.models import MonitorKind
from monitors.metrics.context import Context, MeasuredSummary, MeasuredWindow
from monitors.metrics.drift import measure_drift_of
from monitors.metrics.measures import SUMMARY_MEASURES, WINDOW_MEASURES, SummaryMeasure, WindowMeasure
from monitors.metrics.models import MetricPoint, PointStatus
from monitors.metrics.points import Point, row_of
from monitors.metrics.segment_summaries import SegmentSummary

log = logging.getLogger(__name__)


def points_of(context: Context, segment: SegmentSummary, span: str, start: datetime) -> list[MetricPoint]:
    """Measure every metric of the model's monitors in one summary; the rows are not saved.

    What cannot be measured stops nothing else: its point is an error, and `context.failures` says why.
    """
    window = Period(start, following(start, span))
    points: list[Point] = []
    try:
        reference = context.references.of(segment.version_id, window)
    except DatabaseError:
        raise
    except Exception as error:
        reference = None
        points.append(_failed(context, span, start, MonitorKind.DRIFT, error))
    for kind in _kinds_measured(context, span):
        measured = MeasuredSummary(context, context.monitors[kind], segment, reference, span, window)
        try:
            points += _measure_kind(kind, measured)
        except DatabaseError:
            raise
        except Exception as error:
            points.append(_failed(context, span, start, kind, error))
    return [row_of(context.model, segment.population, span, start, point) for point in points]


def _kinds_measured(context: Context, span: str) -> Iterator[MonitorKind]:
    """List the kinds of the model's monitors that measure windows of a length."""
    for kind, measures in SUMMARY_MEASURES.items():
        monitor = context.monitors.get(kind)
        if monitor and (span != "hour" or monitor.span == "hour" or measures.measures_every_hour):
            yield kind


def _measure_kind(kind: MonitorKind, measured: MeasuredSummary) -> list[Point]:
    """Measure the metrics of one kind of monitor."""
    measures = SUMMARY_MEASURES[kind]
    if feature_headline := measures.feature_headline:
        return [
            point
            for measure in measures.measures
            for point in _measure_sound_features(measure, measured, feature_headline)
        ]
    return [point for measure in measures.measures for point in measure(measured)]


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
    window = Period(start, following(start, span))
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
    model, span, start = measured.context.model, measured.span, measured.window.start
    return [row_of(model, population, span, start, point) for population, point in measure(measured)]
