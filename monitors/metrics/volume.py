"""How many predictions come beside how many usually do, and how long none has come.

Both are of hours and days by event time, as known when they are measured: a row that comes weeks late changes what was
counted then, not what was judged since.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median

from django.db import transaction
from django.db.models import Max, OuterRef, QuerySet, Subquery

from driftline.common.periods import Period, floor, following, windows
from driftline.common.task_queue import Task, enqueue
from driftline.common.work import touch
from inference.prediction_log.models import PredictionRole, TouchedPeriod
from inference.prediction_log.queries.event_clock import event_now, event_nows
from inference.prediction_log.queries.selectors import newest_arrivals, newest_event, oldest_event
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.context import Context, context_of
from monitors.metrics.models import MetricPoint, PendingEvaluation, PointStatus
from monitors.metrics.points import Point, Population, row_of
from monitors.metrics.storing import lock_points, save_points
from monitors.summaries.models import StaleWindow

WEEKS = [timedelta(weeks=back) for back in range(1, 5)]
DAYS = [timedelta(days=back) for back in range(1, 8)]
MIN_WEEKS, MIN_DAYS = 2, 3  # earlier windows that tell what is usual
LOW = 0.5  # of the fewest of the earlier windows
MAX_SILENCE = timedelta(days=7)  # for so long hours without a row are measured
_HOUR = timedelta(hours=1)
_ALL = Population(PredictionRole.CHAMPION, "")


def volume_rows(context: Context, measured: Iterable[tuple[str, datetime]]) -> list[MetricPoint]:
    """Measure `volume_ratio`, and of hours `freshness`, of those windows that have ended; their counts are stored."""
    by_span: dict[str, set[datetime]] = {}
    for span, start in measured:
        if following(start, span) <= context.event_now:
            by_span.setdefault(span, set()).add(start)
    first = oldest_event(context.model) if by_span and MonitorKind.SERVICE in context.monitors else None
    return [row for span in by_span if first for row in _rows_of(context, span, by_span[span], first)]


def _rows_of(context: Context, span: str, starts: set[datetime], first: datetime) -> Iterator[MetricPoint]:
    looked_at = {start - back for start in starts for back in (timedelta(0), *WEEKS, *DAYS)}
    counts = _counts(context.model, span, looked_at)
    with_rows = _hours_with_rows(context.model, starts - counts.keys()) if span == "hour" else []
    for start in sorted(starts):
        points = [_ratio(counts, start, since=floor(first, span))]
        if span == "hour":
            points.append(_freshness(with_rows, start, is_silent=start not in counts))
        if start not in counts:
            points.append(Point("count", 0.0, 0))
        yield from (row_of(context.model, _ALL, span, start, point) for point in points if point is not None)


def _counts(model: Model, span: str, starts: Collection[datetime]) -> dict[datetime, float]:
    """Read how many predictions were answered in some windows; those without a row have no count."""
    points = _counted(model, span).filter(start__in=starts)
    return {start: value for start, value in points.values_list("start", "value") if value}


def _counted(model: Model, span: str) -> QuerySet[MetricPoint]:
    return MetricPoint.objects.filter(
        model=model, span=span, metric="count", feature="", segment="", role=_ALL.role, version=""
    )


def _ratio(counts: dict[datetime, float], start: datetime, *, since: datetime) -> Point | None:
    """Compare with the same window of earlier weeks, else of earlier days; None where too few tell what is usual."""
    for steps, fewest in ((WEEKS, MIN_WEEKS), (DAYS, MIN_DAYS)):
        earlier = [counts.get(start - back, 0.0) for back in steps if start - back >= since]
        if len(earlier) >= fewest:
            break
    else:
        return None
    usual = median(earlier)
    if not usual:
        return None
    ratio, limit = counts.get(start, 0.0) / usual, LOW * min(earlier) / usual
    return Point(
        "volume_ratio",
        ratio,
        round(usual),
        PointStatus.WARNING if ratio < limit else PointStatus.OK,
        threshold=limit,
        detail={"usual": usual, "windows": len(earlier), "apart": "a week" if steps is WEEKS else "a day"},
    )


def _hours_with_rows(model: Model, silent: Collection[datetime]) -> list[datetime]:
    """List the hours with rows among which are the last ones before each of these silent hours; oldest first."""
    if not silent:
        return []
    counted = _counted(model, "hour").filter(value__gt=0)
    before = counted.filter(start__lt=min(silent)).order_by("-start").values_list("start", flat=True)[:1]
    between = counted.filter(start__gt=min(silent), start__lt=max(silent)).order_by("start")
    return [*before, *between.values_list("start", flat=True)]


def _freshness(with_rows: Sequence[datetime], start: datetime, *, is_silent: bool) -> Point | None:
    """Count the hours without a row up to the end of this one."""
    if not is_silent:
        return Point("freshness", 0.0, 1)
    place = bisect_left(with_rows, start)
    return Point("freshness", (start - with_rows[place - 1]) / _HOUR, 1) if place else None


# -- what ends without a row that would say so -------------------------------------------------------------------------
def models_with_ended_windows(now: datetime) -> list[Model]:
    """List the models of which an hour has ended whose volume was not measured, by a few queries for all models."""
    models = Model.objects.order_by("pk")
    of_model = _measured().filter(model=OuterRef("pk")).order_by("-start").values("start")[:1]
    measured = dict(models.annotate(last=Subquery(of_model)).values_list("pk", "last"))
    newest, clocks = newest_arrivals(models), event_nows(models=models, now=now)
    return [
        model for model in models if _ended_hours(newest[model.pk][0], measured[model.pk], clocks[model.pk])
    ]


def measure_ended(model: Model, now: datetime) -> int:
    """Measure the volume of hours and days that have ended since, with rows or without; returns how many.

    Nothing while rows of the model are still on their way to its points: what is not counted yet is no silence.
    """
    with transaction.atomic():
        lock_points(model.pk)
        ended, context = _ended(model, now), context_of(model)
        waiting = (TouchedPeriod.objects.unfinished(), StaleWindow.objects.unfinished())
        is_busy = any(work.filter(model=model).exists() for work in waiting)
        if not ended or is_busy or MonitorKind.SERVICE not in context.monitors:
            return 0
        save_points(volume_rows(context, ended))
        touch(PendingEvaluation, [(model.pk,)], fields=("model_id",))
        enqueue(Task.JUDGE, model_id=model.pk)
    return len(ended)


def _measured() -> QuerySet[MetricPoint]:
    return MetricPoint.objects.filter(
        span="hour", metric="freshness", feature="", segment="", role=_ALL.role, version=""
    )


def _ended(model: Model, now: datetime) -> list[tuple[str, datetime]]:
    """List the hours that have ended since the last one whose volume was measured, and the days that end with them."""
    last = _measured().filter(model=model).aggregate(last=Max("start"))["last"]
    hours = _ended_hours(newest_event(model), last, event_now(model=model, now=now))
    days = {
        floor(hour, "day")
        for hour in hours
        if following(hour, "hour") == floor(following(hour, "hour"), "day")
    }
    return [("hour", hour) for hour in hours] + [("day", day) for day in sorted(days)]


def _ended_hours(newest: datetime | None, measured: datetime | None, clock: datetime) -> list[datetime]:
    """List the hours from that of the newest event, or from after the last measured one, until the event clock."""
    if newest is None:
        return []
    begin = floor(newest, "hour")
    if measured is not None:
        begin = max(begin, measured + _HOUR)
    end = floor(min(clock, newest + MAX_SILENCE), "hour")
    return [hour.start for hour in windows(Period(begin, end), "hour")]
