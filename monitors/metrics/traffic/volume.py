"""How many predictions come beside how many usually do, how long none has come, and how unusual that silence is.

All are of hours and days by event time, as known when they are measured: a row that comes weeks late changes what was
counted then, not what was judged since. Windows without a row are measured as well, in history as in the present:
hours for a week after the last row, days until the next one.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from django.db import transaction
from django.db.models import Max, OuterRef, QuerySet, Subquery

from driftline.base.periods import Period, floor, following, rfc3339, rolling_days, windows
from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import touch
from inference.prediction_log.models import PredictionRole, TouchedPeriod
from inference.prediction_log.queries.event_clock import event_now, event_nows
from inference.prediction_log.queries.selectors import newest_arrivals, newest_event, oldest_event
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.definitions.monitors import longer_spans
from monitors.metrics.context import Context, context_of
from monitors.metrics.store.models import MetricPoint, PendingEvaluation, PointStatus
from monitors.metrics.store.points import Point, Population, row_of
from monitors.metrics.store.storing import lock_points, save_points
from monitors.stats.count_limits import LOW, least_count
from monitors.summaries.models import StaleWindow

WEEKS = [timedelta(weeks=back) for back in range(1, 5)]
DAYS = [timedelta(days=back) for back in range(1, 8)]
MIN_WEEKS, MIN_DAYS = 2, 3  # earlier windows that tell what is usual
MAX_SILENCE = timedelta(days=7)  # for so long hours without a row are measured
IMPOSSIBLE = 6.0  # of `silence`: one in a million
MIN_FULL = 20  # rows: where so many always came, an hour without one is as many times less likely
ALIKE = 3.0  # times as many rows as the emptiest of some windows may the fullest one have
NEARLY_SILENT = 0.1  # of the usual predictions of a full hour
_SATURDAY = 5
_HOUR = timedelta(hours=1)
_ALL = Population(PredictionRole.CHAMPION, "")


def volume_rows(context: Context, measured: Iterable[tuple[str, datetime]]) -> list[MetricPoint]:
    """Measure `volume_ratio`, and of hours `freshness` and `silence`, of those windows that have ended, and of those
    before them that had no row; their counts are stored.
    """
    by_span: dict[str, set[datetime]] = {}
    for span, start in measured:
        if following(start, span) <= context.event_now:
            by_span.setdefault(span, set()).add(start)
    first = oldest_event(context.model) if by_span and MonitorKind.SERVICE in context.monitors else None
    return [row for span in by_span if first for row in _rows_of(context, span, by_span[span], first)]


def _rows_of(context: Context, span: str, starts: set[datetime], first: datetime) -> Iterator[MetricPoint]:
    starts = starts | _silent_around(context.model, span, starts)
    looked_at = {start - back for start in starts for back in (timedelta(0), *WEEKS, *DAYS)}
    usual = Usual(_counts(context.model, span, looked_at), since=floor(first, span))
    with_rows = _windows_with_rows(context.model, span, starts)
    points: dict[datetime, list[Point]] = {start: [] for start in sorted(starts)}
    for start, of_window in points.items():
        if (ratio := _ratio(usual, span, start, with_rows)) is not None:
            of_window.append(ratio)
        if start not in usual.counts:
            of_window.append(Point("count", 0.0, 0))
    if span == "hour":
        for start, point in _silences(context.model, usual, points):
            points[start].append(point)
    for start, of_window in points.items():
        yield from (row_of(context.model, _ALL, span, start, point) for point in of_window)


def _silent_around(model: Model, span: str, starts: Collection[datetime]) -> set[datetime]:
    """List the windows without a row right before and after these windows that were never measured, or, because rows
    came late, not from the row that they follow.
    """
    with_rows = _windows_with_rows(model, span, starts)
    newest = _counted(model, span).order_by("-start").values_list("start", flat=True).first()
    if not with_rows or newest is None:
        return set()
    silent = {
        one.start: (one.start - before) / _HOUR
        for before, after in pairwise([*with_rows, following(newest, span)])
        if before in starts or after in starts
        for one in windows(_silence_between(span, before, after), span)
    }
    if span != "hour":
        counted = _counted(model, span).filter(start__in=silent)
        return silent.keys() - set(counted.values_list("start", flat=True))
    measured = dict(_measured().filter(model=model, start__in=silent).values_list("start", "value"))
    return {start for start, hours in silent.items() if measured.get(start) != hours}


def _silence_between(span: str, before: datetime, after: datetime) -> Period:
    """Return the time between two windows with rows that is measured."""
    begin = following(before, span)
    return Period(begin, min(after, begin + MAX_SILENCE) if span == "hour" else after)


def _windows_with_rows(model: Model, span: str, starts: Collection[datetime]) -> list[datetime]:
    """List the windows with rows from the last one before these windows until the first one after; oldest first."""
    if not starts:
        return []
    counted = _counted(model, span).filter(value__gt=0)
    before = counted.filter(start__lt=min(starts)).order_by("-start").values_list("start", flat=True)[:1]
    since = counted.filter(start__gte=min(starts), start__lte=max(starts)).order_by("start")
    after = counted.filter(start__gt=max(starts)).order_by("start").values_list("start", flat=True)[:1]
    return [*before, *since.values_list("start", flat=True), *after]


def _counts(model: Model, span: str, starts: Collection[datetime]) -> dict[datetime, float]:
    """Read how many predictions were answered in some windows; those without a row have no count."""
    points = _counted(model, span).filter(start__in=starts)
    return {start: value for start, value in points.values_list("start", "value") if value}


def _counted(model: Model, span: str) -> QuerySet[MetricPoint]:
    return MetricPoint.objects.filter(
        model=model, span=span, metric="count", feature="", segment="", role=_ALL.role, version=""
    )


class Earlier(NamedTuple):
    """How many predictions came in the same window of earlier weeks or days, `step` apart."""

    counts: Sequence[float]
    step: str

    @property
    def usual(self) -> float:
        return median(self.counts)

    @property
    def is_full(self) -> bool:
        """Whether so many rows always came that it is no chance where none do.

        Windows that are alike count together: five rows in each of four weeks are enough.
        """
        least, most = min(self.counts), max(self.counts)
        return least >= MIN_FULL or (least * len(self.counts) >= MIN_FULL and most <= ALIKE * least)


@dataclass(frozen=True)
class Usual:
    """How many predictions came in the windows that have any, and since when there are predictions."""

    counts: Mapping[datetime, float]
    since: datetime

    def earlier(self, start: datetime, *, until: datetime | None = None) -> Earlier | None:
        """Return the same window of earlier weeks, else of earlier days, of those `until` a window where one is given;
        None where too few tell what is usual."""
        for steps, fewest, step in ((WEEKS, MIN_WEEKS, "a week"), (DAYS, MIN_DAYS, "a day")):
            same = [start - back for back in steps if self.since <= start - back <= (until or start)]
            counts = [self.counts.get(one, 0.0) for one in same]
            if len(counts) >= fewest:
                return Earlier(counts, step)
        return None

    def may_be_free(self, start: datetime) -> bool:
        """Return whether nobody may work then, as far as less than two weeks tell."""
        week_ago = start - timedelta(weeks=1)
        if week_ago >= self.since:
            return week_ago not in self.counts
        return start.weekday() >= _SATURDAY


def _ratio(usual: Usual, span: str, start: datetime, with_rows: Sequence[datetime]) -> Point | None:
    """Compare with the same window of earlier weeks or days; None where nothing is usual.

    Of a window without a row only those before its silence count: a gap says nothing of what is usual. A day without a
    row, where each before had some, is never usual.
    """
    place = 0 if start in usual.counts else bisect_left(with_rows, start)
    earlier = usual.earlier(start, until=with_rows[place - 1] if place else None)
    if earlier is None or not earlier.usual:
        return None
    ratio = usual.counts.get(start, 0.0) / earlier.usual
    least = least_count(earlier.counts)
    if span == "day" and start not in usual.counts:
        least = max(least, LOW * min(earlier.counts))
    limit = least / earlier.usual
    return Point(
        "volume_ratio",
        ratio,
        round(earlier.usual),
        PointStatus.WARNING if ratio < limit else PointStatus.OK,
        threshold=limit,
        detail={"usual": earlier.usual, "windows": len(earlier.counts), "apart": earlier.step},
    )


# -- silence -----------------------------------------------------------------------------------------------------------
def _silences(model: Model, usual: Usual, hours: Collection[datetime]) -> Iterator[tuple[datetime, Point]]:
    """Measure `freshness` and `silence` of ascending hours: how many pass without a row, and how unlikely that is.

    The chance of a silence is the product of the chances of its hours: how often the same hour of earlier weeks, else
    of earlier days, had no row, counted with half a time more (Jeffreys). `silence` is its number of decimal places.
    """
    with_rows = _windows_with_rows(model, "hour", hours)
    silences = _stored_silences(model, hours)
    for hour in hours:
        place = bisect_left(with_rows, hour)
        if hour in usual.counts:
            yield hour, Point("freshness", 0.0, 1)
        elif place:
            yield hour, Point("freshness", (hour - with_rows[place - 1]) / _HOUR, 1)
        silences[hour] = lengthen_silence(silences.get(hour - _HOUR), usual, hour)
        yield hour, silences[hour]


def lengthen_silence(before: Point | None, usual: Usual, hour: datetime) -> Point:
    """Return the silence up to an hour, from the one before it; with rows there is none."""
    if not _is_silent(usual, hour):
        return Point("silence", 0.0, 1, threshold=IMPOSSIBLE)
    so_far = before.detail if before else {}
    places = (before.value or 0.0 if before else 0.0) - math.log10(_chance_of_none(usual, hour))
    detail = {
        "since": so_far.get("since", rfc3339(hour)),
        "rows": so_far.get("rows", 0) + round(usual.counts.get(hour, 0.0)),
    }
    status = PointStatus.WARNING if places > IMPOSSIBLE else PointStatus.OK
    return Point("silence", places, 1, status, threshold=IMPOSSIBLE, detail=detail)


def _stored_silences(model: Model, hours: Collection[datetime]) -> dict[datetime, Point]:
    """Read the silence of the hours before some hours."""
    stored = MetricPoint.objects.filter(
        model=model, span="hour", metric="silence", feature="", segment="", role=_ALL.role, version="",
        start__in=[hour - _HOUR for hour in hours],
    )  # fmt: skip
    return {
        start: Point("silence", value, 1, detail=detail or {})
        for start, value, detail in stored.values_list("start", "value", "detail")
    }


def _is_silent(usual: Usual, hour: datetime) -> bool:
    """Return whether no row came in an hour, or next to none of many that usually come."""
    count, earlier = usual.counts.get(hour, 0.0), usual.earlier(hour)
    return not count or (earlier is not None and earlier.is_full and count < NEARLY_SILENT * earlier.usual)


def _chance_of_none(usual: Usual, hour: datetime) -> float:
    """Estimate how often no row comes in an hour such as this; 1 where one seldom does, or little is known."""
    earlier = usual.earlier(hour)
    if earlier is None or (earlier.step == "a day" and usual.may_be_free(hour)):
        return 1.0
    windows_with_rows = sum(count > 0 for count in earlier.counts)
    if not windows_with_rows:
        return 1.0
    chance = (len(earlier.counts) - windows_with_rows + 0.5) / (len(earlier.counts) + 1)
    return chance / MIN_FULL if earlier.is_full else chance


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
        _measure_rolling(context, [start for span, start in ended if span == "day"])
        touch(PendingEvaluation, [(model.pk,)], fields=("model_id",))
        enqueue(Task.JUDGE, model_id=model.pk)
    return len(ended)


def _measure_rolling(context: Context, days: Sequence[datetime]) -> None:
    """Schedule rolling windows that end with days that may have had no row to be measured."""
    spans = [span for span in longer_spans(context.model) if rolling_days(span) is not None]
    stale = [(context.model.pk, span, floor(day, span)) for span in spans for day in days]
    if stale:
        touch(StaleWindow, stale, fields=("model_id", "span", "start"))
        enqueue(Task.MEASURE, model_id=context.model.pk)


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
