"""Half-open UTC intervals, the steps that windows have, and how times are written and read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

Step = Literal["hour", "day", "week", "month"]
STEPS: tuple[str, ...] = get_args(Step)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RELATIVE = re.compile(r"-(\d{1,4})([hdw])")
_ZONED = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})")
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


def floor(moment: datetime, step: str) -> datetime:
    """Move `moment` back to the start of the window of length `step` that holds it; weeks start on Monday."""
    moment = moment.astimezone(UTC)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    if step == "hour":
        return hour
    day = hour.replace(hour=0)
    if step == "day":
        return day
    if step == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1)


def following(start: datetime, step: str) -> datetime:
    """Give the start of the window after the one that starts at `start`."""
    if step == "month":
        return (start + timedelta(days=32)).replace(day=1)
    return start + {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(weeks=1)}[step]


def window(moment: datetime, step: str) -> Period:
    """Give the window of length `step` that holds `moment`."""
    start = floor(moment, step)
    return Period(start, following(start, step))


def windows(period: Period, step: str) -> Iterator[Period]:
    """List the windows of length `step` that overlap `period`, oldest first."""
    start = floor(period.start, step)
    while start < period.end:
        end = following(start, step)
        yield Period(start, end)
        start = end


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
