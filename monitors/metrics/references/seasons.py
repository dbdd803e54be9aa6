"""The part of a long reference that a window is compared with: days of its season, and of its weekday.

A year of days holds every weather, so that none would stand out among all of them. A window of up to five weeks is
compared with the days of its own season, and one of up to a day with those of its own weekday where weekdays differ.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, timedelta
from functools import lru_cache

from driftline.base.periods import Period
from monitors.definitions.models import Reference
from monitors.metrics.references.from_log import merged
from monitors.metrics.references.loaded import LoadedReference
from monitors.stats.drift.constant_days import is_constant_within_days
from monitors.stats.drift.reference_days import MIN_DAYS, bins_of
from monitors.stats.drift.seasons import (
    REACH_WEEKS,
    covers_a_year,
    days_near,
    middle_of,
    season_of,
    weekdays_differ,
)

_DAY, _LONGEST = timedelta(days=1), timedelta(weeks=5)
_KEPT = 64  # each reference in use has a part a season and weekday


def in_season(reference: LoadedReference, window: Period) -> LoadedReference:
    """Narrow a reference of a year or more to what a window is compared with; a shorter one stays as it is."""
    if (
        reference.part
        or reference.kind == Reference.Kind.SAME_HOURS
        or window.length > _LONGEST
        or not covers_a_year(reference.dates)
    ):
        return reference
    middle = (window.start + window.length / 2).astimezone(UTC).date()
    return _part(reference, season_of(middle), middle.weekday() if window.length <= _DAY else None)


def advice_for(reference: LoadedReference, window: Period, feature: str = "") -> str:
    """Describe which reference or window would tell more, of a feature or of all, where a limit is too wide to."""
    if feature and window.length <= _DAY and is_constant_within_days(reference.days.get(feature)):
        return (
            f"{feature} holds a single value within a day, as calendar features do, so that no day resembles the "
            "reference: judge weeks or months, in which its values mix."
        )
    longer = (
        "Judge longer windows, such as weeks or months: the more rows and days they have, the less they vary."
    )
    if reference.part or reference.kind == Reference.Kind.SAME_HOURS or window.length > _LONGEST:
        return longer
    if covers_a_year(reference.dates):  # with too few days of the season
        return longer
    return (
        "Use a reference of a year or more, so that windows are compared with days of their own season and weekday, "
        f"or judge longer windows than {_in_words(window.length)}."
    )


def _in_words(length: timedelta) -> str:
    days = length / _DAY
    return f"{days:.0f} days" if days >= 2 else "a day" if days >= 1 else "an hour"


@lru_cache(maxsize=_KEPT)
def _part(reference: LoadedReference, season: int, weekday: int | None) -> LoadedReference:
    """Make a reference of the days of a season, or of one weekday in it where weekdays differ."""
    if weekday is None:
        return _of_days(reference, days_near(reference.dates, season), f"days {_described(season)}")
    whole = _part(reference, season, None)
    alike = [day for day in whole.dates if day.weekday() == weekday]
    if whole is reference or len(alike) < MIN_DAYS or not _weekdays_differ(whole):
        return whole
    return _of_days(reference, alike, f"{alike[0]:%A}s {_described(season)}")


def _described(season: int) -> str:
    return f"within {REACH_WEEKS} weeks of {middle_of(season, 2026):%-d %B}"


def _weekdays_differ(reference: LoadedReference) -> bool:
    counted = ((name, days) for name, days in reference.days.items() if days is not None)
    return any(
        weekdays_differ(bins_of(reference.columns[name], days.counts), days.dates) for name, days in counted
    )


def _of_days(reference: LoadedReference, dates: Sequence[date], part: str) -> LoadedReference:
    """Make a reference of some of another's days; too few of them to learn limits from leave it as it is."""
    days = reference.read_days(dates)
    if len(days) < MIN_DAYS:
        return reference
    summary = merged([summary for _, summary in days])
    return replace(
        reference,
        summary=summary,
        dates=tuple(day for day, _ in days),
        part=f"{len(days)} {part}",
    )
