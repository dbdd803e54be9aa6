"""Turns summaries and a reference into metric points."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial

from django.db import transaction

from driftline.common.attempts import note_failure, work_apart
from driftline.common.periods import Period, following
from driftline.common.task_queue import Task, enqueue
from driftline.common.work import finish, touch
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.change_points import look_for_changes
from monitors.metrics.context import Context, MeasuredWindow, context_of
from monitors.metrics.failures import forget_errors, mark_unsummarised, store_error
from monitors.metrics.measuring import points_of, window_rows
from monitors.metrics.models import MetricPoint, PendingEvaluation
from monitors.metrics.reliability import mark_unreliable
from monitors.metrics.request_log import RequestLog
from monitors.metrics.rows.ended_days import touch_days
from monitors.metrics.segment_summaries import segment_summaries
from monitors.metrics.storing import forget_classes, forget_vanished_segments, lock_points, save_points
from monitors.metrics.volume import volume_rows
from monitors.summaries.models import StaleWindow, Summary

WINDOWS_A_TASK = 200


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
        windows = [(window.span, window.start) for window in stale]
        requests = RequestLog.read(context.model, _around(windows))
        rows = [row for span, start in windows for row in _window_rows(context, requests, span, start)]
        rows = mark_unsummarised(context.model, rows, windows)
        save_points([*rows, *mark_unreliable(context.model, rows)])
        volume = mark_unsummarised(context.model, volume_rows(context, windows), windows)
        save_points(volume)
        forget_classes(model_id, rows, windows)
        forget_vanished_segments(model_id, windows)
        forget_errors(model_id, [*rows, *volume], windows)
        look_for_changes(context, stale, rows)
        touch_days(context, stale)
        touch(PendingEvaluation, [(model_id,)], fields=("model_id",))
        _finish(context, stale)
        enqueue(Task.JUDGE, model_id=model_id)


def _finish(context: Context, stale: Sequence[StaleWindow]) -> None:
    """Finish the windows of which everything was measured; the others keep why not, and are tried again."""
    done = [window for window in stale if (window.span, window.start) not in context.failures]
    finish(done)
    for window in stale:
        if reasons := context.failures.get((window.span, window.start)):
            note_failure(window, "; ".join(reasons))


def _around(windows: Sequence[tuple[str, datetime]]) -> Period:
    """Give the period from the first start to the last end."""
    return Period(min(start for _, start in windows), max(following(start, span) for span, start in windows))


def _window_rows(context: Context, requests: RequestLog, span: str, start: datetime) -> list[MetricPoint]:
    """Measure a window. Segments are measured by the day, and by the hour only as a whole."""
    stored = Summary.objects.filter(model=context.model, span=span, start=start).select_related("version")
    if span == "hour":
        stored = stored.filter(segment="")
    hours = _labelled_hours(context, start) if span == "day" else ()
    segments = segment_summaries(stored, shorter=hours)
    points = [point for segment in segments for point in points_of(context, segment, span, start)]
    window = Period(start, following(start, span))
    return points + window_rows(MeasuredWindow(context, requests, points, span, window))


def _labelled_hours(context: Context, day: datetime) -> Iterable[Summary]:
    """Read the hours of a day in which rows have labels: what the day's intervals are made from."""
    if MonitorKind.PERFORMANCE not in context.monitors:
        return ()
    return Summary.objects.filter(
        model=context.model,
        span="hour",
        segment="",
        labelled__gt=0,
        start__gte=day,
        start__lt=following(day, "day"),
    ).order_by("start")
