"""Summaries of any period, added up from what is stored."""

from collections.abc import Collection
from datetime import datetime

from django.db.models import Max, Q

from driftline.base.periods import Period, floor, following, window, windows
from inference.prediction_log.models import ANSWERING_ROLES
from inference.registry.models import Model
from monitors.stats.mergeable.window_summary import WindowSummary, merge_stored
from monitors.summaries.models import Summary
from monitors.summaries.stored import SHORTER


def held_period(model: Model, period: Period) -> Period:
    """Widen a period to what summaries still tell apart: whole days, or months, where they alone were kept."""
    first, last = period.start, period.end
    for span in SHORTER:
        first, last = _held_edge(model, first, span).start, _held_edge(model, last, span).end
    return Period(first, last)


def _held_edge(model: Model, moment: datetime, span: str) -> Period:
    """Return the day or month around a moment within it that stands for its hours or days, else the moment alone."""
    around = window(moment, span)
    stored = Summary.objects.filter(model=model, segment="", start__gte=around.start, start__lt=around.end)
    whole = stored.filter(span=span, start=around.start).values_list("role", "version_id")
    sources = stored.filter(span=SHORTER[span]).values_list("role", "version_id")
    is_whole = moment != around.start and bool(set(whole) - set(sources))
    return around if is_whole else Period(moment, moment)


def windows_held(model: Model, period: Period, step: str) -> list[tuple[str, Period]]:
    """List the windows of a period, each with its length; months stand for weeks of which days were dropped.

    None is listed that began before the days that are kept: it would count only a part of its own.
    """
    since = days_held_since(model)
    if since is None or since <= floor(period.start, step):
        return [(step, one) for one in windows(period, step)]
    months = [("month", one) for one in windows(Period(period.start, min(since, period.end)), "month")]
    whole = [one for one in windows(period, step) if one.start >= since]
    return months + [(step, one) for one in whole]


def days_held_since(model: Model) -> datetime | None:
    """Return when the newest month ended that is kept without its days; None where all days are kept."""
    newest = Summary.objects.filter(model=model, span="month").aggregate(start=Max("start"))["start"]
    return newest and following(newest, "month")


def merged_summary(
    *,
    model: Model,
    start: datetime,
    end: datetime,
    segment: str = "",
    features: Collection[str] | None = None,
) -> WindowSummary | None:
    """Add up what is stored of answers in `[start, end)`: whole days and months, and hours at either end.

    With `features` only those are unpacked.
    """
    payloads = Summary.objects.filter(
        within(Period(start, end)), model=model, role__in=ANSWERING_ROLES, segment=segment
    ).values_list("payload", flat=True)
    stored = [bytes(payload) for payload in payloads]
    return merge_stored(stored, features=features)[0] if stored else None


def within(period: Period) -> Q:
    """Select the summaries that hold each row of a period of whole hours once: whole days and months, and hours at
    either end."""
    first, last = floor(period.start, "day"), floor(period.end, "day")
    if first < period.start:
        first = following(first, "day")
    inside = Q(span="hour", start__gte=period.start, start__lt=min(first, period.end))
    inside |= Q(span__in=SHORTER, start__gte=first, start__lt=last)
    return inside | Q(span="hour", start__gte=max(first, last), start__lt=period.end)
