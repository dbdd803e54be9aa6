"""Half-open UTC intervals, the spans that windows have, and how times are written and read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

STEPS = ("hour", "day", "week", "month")
"""The spans of windows that follow one another; those that roll are written `7d`, `28d`, and step by a day."""
ROLLING_DAYS = range(2, 91)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_MICROSECOND = timedelta(microseconds=1)
_RELATIVE = re.compile(r"-(\d{1,4})([hdw])")
_ZONED = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})")
_ROLLING = re.compile(r"([1-9]\d?)d", re.ASCII)
_LENGTHS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
    "month": timedelta(days=31),
}
_DAY = timedelta(days=1)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True, order=True)
class Period:
    """The half-open interval `[start, end)` in UTC."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    @property
    def length(self) -> timedelta:
        return self.end - self.start


def rolling_days(span: str) -> int | None:
    """Return how many days a rolling window has; None of a span that does not roll."""
    match = _ROLLING.fullmatch(span)
    days = int(match[1]) if match else 0
    return days if days in ROLLING_DAYS else None


def is_span(text: str) -> bool:
    """Return whether windows may have this span."""
    return text in STEPS or rolling_days(text) is not None


def longest(span: str) -> timedelta:
    """Return the length of the longest window of a span; months alone differ in length."""
    return _LENGTHS.get(span) or (rolling_days(span) or 0) * _DAY


def floor(moment: datetime, span: str) -> datetime:
    """Move `moment` back to the start of the window that holds it; weeks start on Monday.

    Of the rolling windows that hold it, it is the one that ends with the day of `moment`.
    """
    moment = moment.astimezone(UTC)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    if span == "hour":
        return hour
    day = hour.replace(hour=0)
    if span == "day":
        return day
    if span == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if span == "month" else day - overlap(span)


def day_of(moment: datetime) -> date:
    """Return the day in UTC that holds `moment`."""
    return moment.astimezone(UTC).date()


def start_of_day(day: date) -> datetime:
    """Return the first moment of a day in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def overlap(span: str) -> timedelta:
    """Return how much of a window the next one holds too: nothing, but for rolling windows."""
    return timedelta(0) if span in _LENGTHS else longest(span) - _DAY


def end_of(start: datetime, span: str) -> datetime:
    """Return the end of the window that starts at `start`."""
    return (start + timedelta(days=32)).replace(day=1) if span == "month" else start + longest(span)


def following(start: datetime, span: str) -> datetime:
    """Return the start of the window after the one that starts at `start`."""
    return end_of(start, span) - overlap(span)


def earlier(start: datetime, span: str, windows: int) -> datetime:
    """Return the start of the window that comes so many `windows` before the one that starts at `start`."""
    if span == "month":
        months = start.year * 12 + start.month - 1 - windows
        return start.replace(year=months // 12, month=months % 12 + 1)
    return start - windows * (following(start, span) - start)


def window(moment: datetime, span: str) -> Period:
    """Return the window that holds `moment`; of rolling windows the one that ends with its day."""
    start = floor(moment, span)
    return Period(start, end_of(start, span))


def is_window(period: Period, span: str) -> bool:
    """Return whether a period is one of the windows of a span."""
    return period == window(period.end - _MICROSECOND, span)


def windows(period: Period, span: str) -> Iterator[Period]:
    """List the windows that overlap `period`, oldest first; of rolling windows, those that do with their last day."""
    start, reach = floor(period.start, span), overlap(span)
    while start + reach < period.end:
        yield Period(start, end_of(start, span))
        start = following(start, span)


def windows_with(day: datetime, span: str) -> Iterator[datetime]:
    """List the starts of all windows that hold the day of a moment, oldest first."""
    start = floor(day, span)
    return (start + later * _DAY for later in range(rolling_days(span) or 1))


def counted(n: int, span: str, kind: str = "") -> str:
    """Write a number of windows, or of other things, in words, with a word before their name that says which.

    >>> counted(1, "day"), counted(3, "week", "good "), counted(2, "7d")
    ('1 day', '3 good weeks', '2 windows of 7 days')
    """
    days, plural = rolling_days(span), "s" if n != 1 else ""
    return f"{n:,} {kind}{span}{plural}" if days is None else f"{n:,} {kind}window{plural} of {days} days"


def in_a_row(n: int, span: str, kind: str = "") -> str:
    """Write a number of consecutive windows in words.

    >>> in_a_row(1, "day"), in_a_row(3, "week", "good ")
    ('1 day', '3 good weeks in a row')
    """
    return counted(n, span, kind) + (" in a row" if n > 1 else "")


def named(span: str) -> str:
    """Name one window of a span after an article: `week`, `last 7 days`."""
    days = rolling_days(span)
    return span if days is None else f"last {days} days"


def dated(start: datetime, span: str) -> str:
    """Name the window of a span that starts at `start`.

    >>> dated(datetime(2026, 1, 5, tzinfo=UTC), "day"), dated(datetime(2026, 1, 5, tzinfo=UTC), "7d")
    ('5 Jan 2026', 'the 7 days to 11 Jan 2026')
    """
    start = start.astimezone(UTC)
    if days := rolling_days(span):
        return f"the {days} days to {end_of(start, span) - _DAY:%-d %b %Y}"
    if span == "month":
        return f"{start:%B %Y}"
    day = f"{start:%-d %b %Y}"
    return {"hour": f"the hour from {start:%H:%M} UTC on {day}", "week": f"the week of {day}"}.get(span, day)


def during(start: datetime, span: str) -> str:
    """Return when a window was: `on 5 Jan 2026`, `in the week of 5 Jan 2026`."""
    return f"{'on' if span == 'day' else 'in'} {dated(start, span)}"


def parse_moment(text: str, *, now: datetime) -> datetime:
    """Read RFC 3339 with a zone, `now`, or a distance back from it such as `-7d`; ValueError otherwise."""
    if text == "now":
        return now
    if match := _RELATIVE.fullmatch(text):
        return now - int(match[1]) * _UNITS[match[2]]
    return parse_timestamp(text)


def parse_timestamp(text: str) -> datetime:
    """Read an RFC 3339 time with a zone; ValueError for anything else, naive times included."""
    if not _ZONED.fullmatch(text):
        raise ValueError(f"{text[:64]!r} is not an RFC 3339 time with a zone")
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


def rfc3339(moment: datetime) -> str:
    """Write a time as RFC 3339 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def to_us(moment: datetime) -> int:
    """Return the microseconds since 1970."""
    return (moment - EPOCH) // _MICROSECOND


def from_us(us: int) -> datetime:
    """Return the moment so many microseconds after 1970, in UTC."""
    return EPOCH + us * _MICROSECOND
