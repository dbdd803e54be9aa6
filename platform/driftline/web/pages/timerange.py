"""The time range of a page: it lives in the URL, and by default ends at the model's newest event."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from django.http import HttpRequest

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.periods import Period, floor, parse_moment, parse_timestamp
from inference.prediction_log.queries.selectors import newest_event, oldest_event
from inference.registry.models import Model

DEFAULT_DAYS = 30
PRESETS = (7, 30, 90, 365)
_DAY = timedelta(days=1)
_RELATIVE = re.compile(r"-(\d{1,4})d")


@dataclass(frozen=True)
class TimeRange:
    """`[start, end)` in event time; `newest` is the model's newest event, None before the first."""

    start: datetime
    end: datetime
    newest: datetime | None
    is_default: bool
    preset: int | None = None  # the length that was asked for, where the log may be shorter

    @property
    def suffix(self) -> str:
        """What links add to keep a range that was chosen."""
        if self.is_default:
            return ""
        if self.preset:
            return f"?from=-{self.preset}d"
        return "?" + urlencode({"from": self._text(self.start), "to": self._text(self.end)})

    @property
    def prefix(self) -> str:
        """What a link puts before parameters of its own to keep a range that was chosen."""
        return f"{self.suffix}&" if self.suffix else "?"

    @property
    def dates(self) -> str:
        """The first and the last day as parameters, also of the default range."""
        return urlencode({"from": self.start.date(), "to": self.last_day.date()})

    @property
    def absolute(self) -> dict[str, str]:
        """The parameters that mean this range whatever comes later, also of the default one."""
        return {"from": self._text(self.start), "to": self._text(self.end)}

    @property
    def days(self) -> int:
        return max(1, round((self.end - self.start) / _DAY))

    @property
    def last_day(self) -> datetime:
        """The start of the range's last day, for a date field, which includes its end."""
        return self.end - timedelta(microseconds=1)

    @property
    def presets(self) -> list[tuple[int, bool]]:
        """The lengths in days that a click chooses, and whether one is chosen now."""
        return [(days, days == self.preset) for days in PRESETS]

    @property
    def misses_newest(self) -> bool:
        return self.newest is not None and not self.start <= self.newest < self.end

    @staticmethod
    def _text(moment: datetime) -> str:
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def in_address(moment: datetime) -> str:
    """Write a moment as pages read it from their address: a date, or RFC 3339 where it is within a day."""
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%d}" if moment == floor(moment, "day") else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def window_of(request: HttpRequest) -> datetime | None:
    """Read `?day=`, the start of the window that is asked for: a date or RFC 3339; None without it."""
    text = request.GET.get("day", "")
    if not text:
        return None
    try:
        return _moment(text)
    except (ValueError, OverflowError) as error:
        raise Problem(
            400, "invalid_day", f"{text[:40]!r} is not a time; use 2026-01-31 or 2026-01-31T06:00:00Z."
        ) from error


def _moment(text: str) -> datetime:
    """Read a date or RFC 3339; ValueError for anything else."""
    if len(text) == len("2026-01-31"):
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    return parse_timestamp(text)


def range_of(request: HttpRequest, model: Model) -> TimeRange:
    """Read `?from=&to=`: dates (the end included), RFC 3339, or `-7d` counted back from the newest event."""
    newest = newest_event(model)
    edge = floor(newest or now(), "day") + _DAY
    start_text, end_text = request.GET.get("from", ""), request.GET.get("to", "")
    end = _read(end_text, edge, inclusive=True) if end_text else edge
    relative = _RELATIVE.fullmatch(start_text or f"-{DEFAULT_DAYS}d")
    start = _back(model, end, int(relative[1])) if relative else _read(start_text, end)
    if start >= end:
        raise Problem(400, "invalid_range", f"The range ends ({end_text}) before it starts ({start_text}).")
    preset = int(relative[1]) if relative and not end_text else None
    return TimeRange(start, end, newest, is_default=not (start_text or end_text), preset=preset)


def compared_period(request: HttpRequest) -> Period | None:
    """Read `?with_from=&with_to=` as the range is read; None where neither is there."""
    start_text, end_text = request.GET.get("with_from", ""), request.GET.get("with_to", "")
    if not (start_text or end_text):
        return None
    if not (start_text and end_text):
        raise Problem(400, "invalid_range", "A period to compare with needs both with_from and with_to.")
    start, end = _read(start_text, now()), _read(end_text, now(), inclusive=True)
    if start >= end:
        raise Problem(
            400, "invalid_range", f"The compared period ends ({end_text}) before it starts ({start_text})."
        )
    return Period(start, end)


def _back(model: Model, end: datetime, days: int) -> datetime:
    """Some days before the end, but not before the first event: a young model needs no empty axis."""
    oldest = oldest_event(model)
    start = end - max(days, 1) * _DAY
    return start if oldest is None else max(start, min(floor(oldest, "day"), end - _DAY))


def _read(text: str, edge: datetime, *, inclusive: bool = False) -> datetime:
    try:
        if len(text) == len("2026-01-31"):
            return _moment(text) + (_DAY if inclusive else timedelta(0))
        return parse_moment(text, now=edge)
    except (ValueError, OverflowError) as error:
        raise Problem(
            400, "invalid_range", f"{text[:40]!r} is not a time; use 2026-01-31, 2026-01-31T06:00:00Z or -7d."
        ) from error
