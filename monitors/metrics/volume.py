"""How many predictions come beside how many usually do, and how long none has come.

Both are of hours and days by event time, as known when they are measured: a row that comes weeks late changes what was
counted then, not what was judged since.
"""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from statistics import median

from django.db import transaction

from driftline.common.clock import now
from driftline.common.doorbell import ring
from driftline.common.periods import Period, floor, following, windows
from driftline.common.work import touch
from inference.prediction_log.event_clock import event_now
from inference.prediction_log.models import PredictionRole, TouchedPeriod
from inference.prediction_log.selectors import newest_event, oldest_event
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.measuring import Context, Whose, context_of, row_of
from monitors.metrics.models import MetricPoint, PendingEvaluation, PointStatus
from monitors.metrics.points import Point
from monitors.metrics.storing import lock_points, save_points
from monitors.summaries.models import StaleWindow

WEEKS = [timedelta(weeks=back) for back in range(1, 5)]
DAYS = [timedelta(days=back) for back in range(1, 8)]
FEWEST_WEEKS, FEWEST_DAYS = 2, 3  # earlier windows that tell what is usual
LOW = 0.5  # of the fewest of the earlier windows
LONGEST_SILENCE = timedelta(days=7)  # for so long hours without a row are measured
_HOUR = timedelta(hours=1)
_ALL = Whose(PredictionRole.CHAMPION, "")


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
    for start in sorted(starts):
        points = [_ratio(counts, start, since=floor(first, span))]
        if span == "hour":
            points.append(_freshness(context.model, counts, start))
        if start not in counts:
            points.append(Point("count", 0.0, 0))
        yield from (row_of(context, _ALL, span, start, point) for point in points if point is not None)


def _counts(model: Model, span: str, starts: Collection[datetime]) -> dict[datetime, float]:
    """Read how many predictions were answered in some windows; those without a row have no count."""
    points = _counted(model, span).filter(start__in=starts)
    return {start: value for start, value in points.values_list("start", "value") if value}


def _counted(model: Model, span: str):  # type: ignore[no-untyped-def]
    return MetricPoint.objects.filter(
        model=model, span=span, metric="count", feature="", segment="", role=_ALL.role, version=""
    )


def _ratio(counts: dict[datetime, float], start: datetime, *, since: datetime) -> Point | None:
    """Compare with the same window of earlier weeks, else of earlier days; None where too few tell what is usual."""
    for steps, fewest in ((WEEKS, FEWEST_WEEKS), (DAYS, FEWEST_DAYS)):
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


def _freshness(model: Model, counts: dict[datetime, float], start: datetime) -> Point | None:
    """Count the hours without a row up to the end of this one."""
    if start in counts:
        return Point("freshness", 0.0, 1)
    last = _counted(model, "hour").filter(start__lt=start, value__gt=0).order_by("-start").first()
    return None if last is None else Point("freshness", (start - last.start) / _HOUR, 1)


# -- what ends without a row that would say so -------------------------------------------------------------------------
def measure_ended(model: Model) -> int:
    """Measure the volume of hours and days that have ended since, with rows or without; returns how many.

    Nothing while rows of the model are still on their way to its points: what is not counted yet is no silence.
    """
    if not _ended(model):  # as nearly always: the lock and the context are for the others
        return 0
    with transaction.atomic():
        lock_points(model.pk)
        ended, context = _ended(model), context_of(model)
        is_busy = any(work.objects.filter(model=model).exists() for work in (TouchedPeriod, StaleWindow))
        if not ended or is_busy or MonitorKind.SERVICE not in context.monitors:
            return 0
        save_points(volume_rows(context, ended))
        touch(PendingEvaluation, [(model.pk,)], fields=("model_id",))
        ring("monitors.judge", model_id=model.pk)
    return len(ended)


def _ended(model: Model) -> list[tuple[str, datetime]]:
    """List the hours that have ended since the last one whose volume was measured, and the days that end with them."""
    newest = newest_event(model)
    if newest is None:
        return []
    measured = MetricPoint.objects.filter(
        model=model,
        span="hour",
        metric="freshness",
        feature="",
        segment="",
        role=_ALL.role,
        version="",
    )
    last = measured.order_by("-start").values_list("start", flat=True).first()
    begin = floor(newest, "hour")
    if last is not None:
        begin = max(begin, last + _HOUR)
    end = floor(min(event_now(model=model, now=now()), newest + LONGEST_SILENCE), "hour")
    hours = [hour.start for hour in windows(Period(begin, end), "hour")]
    days = {
        floor(hour, "day")
        for hour in hours
        if following(hour, "hour") == floor(following(hour, "hour"), "day")
    }
    return [("hour", hour) for hour in hours] + [("day", day) for day in sorted(days)]
