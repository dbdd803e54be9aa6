"""Turns summaries and a reference into metric points."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial

from django.db import transaction
from django.db.models import Q, QuerySet

from driftline.base.periods import Period, end_of, floor, rolling_days, windows
from driftline.base.work.attempts import note_failure, work_apart
from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import finish, touch
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.answers.reliability import mark_unreliable
from monitors.metrics.answers.segment_summaries import segment_summaries, summaries_to_add_up
from monitors.metrics.catalogue import Measure
from monitors.metrics.context import Context, MeasuredWindow, context_of
from monitors.metrics.evidence import add_up_evidence
from monitors.metrics.explaining.change_points import look_for_changes
from monitors.metrics.inputs.fitting import fit_spans
from monitors.metrics.inputs.impossible import touch_following
from monitors.metrics.measures import SUMMARY_MEASURES
from monitors.metrics.measuring import kinds_measured, points_of, window_rows
from monitors.metrics.periods import days_held_since, held_period
from monitors.metrics.rows.ended_days import touch_days
from monitors.metrics.store.failures import mark_unsummarised, store_error
from monitors.metrics.store.models import MetricPoint, PendingEvaluation
from monitors.metrics.store.storing import (
    forget_unmeasured,
    forget_vanished_segments,
    forget_windows,
    lock_points,
    save_points,
    update_points,
)
from monitors.metrics.traffic.request_log import RequestLog
from monitors.metrics.traffic.volume import volume_rows
from monitors.summaries.models import StaleWindow, Summary

WINDOWS_A_TASK = 400  # what all of them share costs as much as measuring a hundred hours of few rows
SHORT = ("hour", "day")
"""The spans of windows that are measured of every model."""
FEATURE_KINDS = {MonitorKind.DRIFT, MonitorKind.QUALITY}
"""The kinds of monitors that look at features."""


class WindowMerged(ValueError):
    """The summaries of a window were merged into those of a longer one, from which it cannot be measured."""

    def __init__(self, held: Period) -> None:
        super().__init__(
            f"its summaries are only kept as a part of those from {held.start:%Y-%m-%d} to {held.end:%Y-%m-%d}."
        )


def measure(model_id: int) -> int:
    """Compute the points of stale windows of one model and have its rules judged; returns the windows tried.

    A window that cannot be measured stops no other one: it keeps the reason, and its points are errors.
    """
    with transaction.atomic():
        stale = StaleWindow.objects.filter(model_id=model_id).claim(limit=WINDOWS_A_TASK)
    if stale:
        work_apart(stale, partial(_measure_windows, model_id), on_failure=store_error)
    return len(stale)


def _measure_windows(model_id: int, stale: Sequence[StaleWindow]) -> None:
    with transaction.atomic():
        lock_points(model_id)
        context = context_of(Model.objects.get(pk=model_id))
        fit_spans(context)
        windows = _to_measure(context, [(window.span, window.start) for window in stale])
        if not windows:
            finish(stale)
            return
        requests = RequestLog.read(context.model, _around(windows))
        hours = _hours(context.model, [start for span, start in windows if span == "hour"])
        rows = [
            row
            for span, start in windows
            for row in _window_rows(
                context,
                requests,
                span,
                start,
                hours.get(start, ()) if span == "hour" else _stored(context.model, span, start),
            )
        ]
        rows = mark_unsummarised(context.model, rows, windows)
        later = mark_unreliable(context.model, rows)
        touch_following(context.model, rows, windows)
        save_points(rows)
        update_points(later)
        volume = volume_rows(context, [window for window in windows if window[0] in SHORT])
        mark_unsummarised(context.model, [*rows, *volume], windows)
        save_points(volume)
        measures = {span: _measures(context, span) for span in {span for span, _ in windows}}
        forget_unmeasured(model_id, [*rows, *volume], windows, measures)
        forget_vanished_segments(model_id, windows)
        measured = {(row.span, row.start) for row in rows}
        forget_windows(model_id, [one for one in windows if one[0] not in SHORT and one not in measured])
        look_for_changes(context, stale, rows)
        add_up_evidence(context, stale, rows)
        touch_days(context, stale)
        touch(PendingEvaluation, [(model_id,)], fields=("model_id",))
        _finish(context, stale)
        enqueue(Task.JUDGE, model_id=model_id)


def _measures(context: Context, span: str) -> set[Measure]:
    """List what is stored of what is measured of summaries of a span, and of one beside the other."""
    kinds = set(kinds_measured(_judged_by(context, span), span))
    gaps = {Measure.GAPS} if MonitorKind.PERFORMANCE in kinds else set()
    return gaps.union(*(SUMMARY_MEASURES[kind].written for kind in kinds))


def _judged_by(context: Context, span: str) -> Context:
    """Narrow what is measured of a window longer than a day to the monitors that judge it."""
    return context if span in SHORT else context.judging(span)


def _finish(context: Context, stale: Sequence[StaleWindow]) -> None:
    """Finish the windows of which everything was measured; the others keep why not, and are tried again."""
    done = [window for window in stale if (window.span, window.start) not in context.failures]
    finish(done)
    for window in stale:
        if reasons := context.failures.get((window.span, window.start)):
            note_failure(window, "; ".join(reasons))


def _to_measure(context: Context, windows: Sequence[tuple[str, datetime]]) -> list[tuple[str, datetime]]:
    """Leave out windows longer than a day that nobody judges any more, or that have no days any more.

    Rolling windows that end after today are left out too: they are measured with the day that ends them.
    """
    longer = [window for window in windows if window[0] not in SHORT]
    if not longer:
        return list(windows)
    judged = {span for monitor in context.monitors.values() for span in monitor.spans}
    since = days_held_since(context.model)
    tomorrow = end_of(floor(context.event_now, "day"), "day")
    return [
        (span, start)
        for span, start in windows
        if span in SHORT
        or (
            span in judged
            and (since is None or start >= since)
            and (rolling_days(span) is None or end_of(start, span) <= tomorrow)
        )
    ]


def _around(windows: Sequence[tuple[str, datetime]]) -> Period:
    """Return the period from the first start to the last end."""
    return Period(min(start for _, start in windows), max(end_of(start, span) for span, start in windows))


def _hours(model: Model, starts: Sequence[datetime]) -> dict[datetime, list[Summary]]:
    """Read the summaries of hours as a whole, all at once: they are small, and there may be one a row."""
    found: dict[datetime, list[Summary]] = {}
    for summary in (
        summaries_to_add_up(model).filter(span="hour", start__in=starts, segment="") if starts else ()
    ):
        found.setdefault(summary.start, []).append(summary)
    return found


def measure_again(*, model: Model, span: str, start: datetime) -> list[MetricPoint]:
    """Measure a window from its stored summaries as workers do, and return its points; nothing is written.

    The limits are those of the references, rules and settings of now. Raises WindowMerged, and UnreadableSummary.
    """
    window = Period(start, end_of(start, span))
    if (held := held_period(model, window)) != window:
        raise WindowMerged(held)
    stored = (
        summaries_to_add_up(model).filter(span=span, start=start)
        if span == "hour"
        else _stored(model, span, start)
    )
    return _window_rows(context_of(model), RequestLog.read(model, window), span, start, stored)


def _stored(model: Model, span: str, start: datetime) -> QuerySet[Summary]:
    """Select the summaries of a day, or of the days of a longer window, and of whole months that stand for theirs."""
    if span == "day":
        return summaries_to_add_up(model).filter(span=span, start=start)
    window = Period(start, end_of(start, span))
    days = Q(span="day", start__gte=window.start, start__lt=window.end)
    months = [one.start for one in windows(window, "month") if start <= one.start and one.end <= window.end]
    return summaries_to_add_up(model).filter(days | Q(span="month", start__in=months))


def _window_rows(
    context: Context, requests: RequestLog, span: str, start: datetime, stored: Iterable[Summary]
) -> list[MetricPoint]:
    """Measure a window: a longer one than a day from its days, by the monitors that judge it.

    Segments are measured by the day and longer, and by the hour only as a whole.
    """
    window = Period(start, end_of(start, span))
    context = _judged_by(context, span)
    stored = list(stored)
    segments = segment_summaries(
        stored,
        shorter=_labelled_hours(context, start, stored) if span == "day" else (),
        features=None if FEATURE_KINDS & set(kinds_measured(context, span)) else (),
        with_outcomes=span != "hour" or _may_be_judged(context, stored),
    )
    points = [point for segment in segments for point in points_of(context, segment, span, start)]
    return points + window_rows(MeasuredWindow(context, requests, points, span, window))


def _may_be_judged(context: Context, hour: Sequence[Summary]) -> bool:
    """Return whether anything is measured of the outcomes of an hour: mostly it has too few rows."""
    monitor = context.monitors.get(MonitorKind.PERFORMANCE)
    if monitor is None:
        return False
    return "hour" in monitor.spans or sum(summary.rows for summary in hour) >= monitor.min_rows


def _labelled_hours(context: Context, day: datetime, stored: Sequence[Summary]) -> Iterable[Summary]:
    """Read the hours of a day in which rows have labels: what its intervals are made from, where they are needed."""
    monitor = context.monitors.get(MonitorKind.PERFORMANCE)
    labelled = sum(summary.labelled for summary in stored if not summary.segment)
    if monitor is None or (monitor.span != "day" and labelled < monitor.min_rows):
        return ()
    return Summary.objects.filter(
        model=context.model,
        span="hour",
        segment="",
        labelled__gt=0,
        start__gte=day,
        start__lt=end_of(day, "day"),
    ).order_by("start")
