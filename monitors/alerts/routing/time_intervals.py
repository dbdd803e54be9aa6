"""Hours and days in which a route sends, or does not: in a zone, with holidays."""

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MINUTES_OF_DAY = 24 * 60
MAX_SEARCH = timedelta(days=366)
"""How far ahead the next moment is looked for at which a route sends."""
_MIDNIGHT = time()


@dataclass(frozen=True)
class TimeInterval:
    """A set of moments: within one of the entries of each field, and in every entry of a field that is empty.

    `times` are pairs of minutes of the day, the start in and the end out; Monday is 0; days of the month that are
    negative count from its end. On `except_dates` there is no such moment.
    """

    name: str
    zone: ZoneInfo
    times: tuple[tuple[int, int], ...] = ()
    weekdays: frozenset[int] = frozenset()
    days_of_month: tuple[tuple[int, int], ...] = ()
    months: frozenset[int] = frozenset()
    dates: frozenset[date] = frozenset()
    except_dates: frozenset[date] = frozenset()

    def contains(self, moment: datetime) -> bool:
        """Return whether a moment with a zone is in the set."""
        local = moment.astimezone(self.zone)
        return self._is_day(local.date()) and self._is_time(local.hour * 60 + local.minute)

    def _is_time(self, minute: int) -> bool:
        return not self.times or any(start <= minute < end for start, end in self.times)

    def _is_day(self, day: date) -> bool:
        return (
            day not in self.except_dates
            and (not self.dates or day in self.dates)
            and (not self.weekdays or day.weekday() in self.weekdays)
            and (not self.months or day.month in self.months)
            and (not self.days_of_month or self._is_day_of_month(day))
        )

    def _is_day_of_month(self, day: date) -> bool:
        length = calendar.monthrange(day.year, day.month)[1]
        return any(
            _from_start(first, length) <= day.day <= _from_start(last, length)
            for first, last in self.days_of_month
        )

    def edges(self, day: date) -> list[datetime]:
        """List the moments of a local day at which a moment may enter or leave the set."""
        minutes = {0, *(edge for pair in self.times for edge in pair)}
        return [
            datetime.combine(day, _MIDNIGHT, self.zone) + timedelta(minutes=minute)
            for minute in sorted(minutes)
        ]


def is_open(moment: datetime, *, active: Sequence[TimeInterval], mute: Sequence[TimeInterval]) -> bool:
    """Return whether a route sends at a moment: within an active interval, where it has any, and in no mute one."""
    is_active = not active or any(interval.contains(moment) for interval in active)
    return is_active and not any(interval.contains(moment) for interval in mute)


def next_open(
    moment: datetime, *, active: Sequence[TimeInterval], mute: Sequence[TimeInterval]
) -> datetime | None:
    """Return the first moment from this one on at which a route sends; None where it does not within a year."""
    if is_open(moment, active=active, mute=mute):
        return moment
    intervals, day, until = [*active, *mute], moment - timedelta(days=1), moment + MAX_SEARCH
    while day <= until:
        for candidate in _candidates(day, intervals):
            if candidate > moment and is_open(candidate, active=active, mute=mute):
                return candidate
        day += timedelta(days=1)
    return None


def _candidates(day: datetime, intervals: Sequence[TimeInterval]) -> list[datetime]:
    """List the moments around a day at which something may change, the earliest first: edges of the intervals, and
    full hours, at which clocks are changed."""
    hours = [day.astimezone(UTC).replace(hour=hour, minute=0, second=0, microsecond=0) for hour in range(24)]
    edges = [edge for one in intervals for edge in one.edges(day.astimezone(one.zone).date())]
    return sorted({*hours, *(edge.astimezone(UTC) for edge in edges)})


def _from_start(day: int, length: int) -> int:
    """Count a day of the month from its start, within the month."""
    return min(day, length) if day > 0 else max(length + 1 + day, 1)
