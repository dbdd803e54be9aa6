"""The time range of a page: it lives in the URL, and by default ends at the model's newest event."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from django.http import HttpRequest

from driftline.common.clock import now
from driftline.common.errors import Problem
from driftline.common.periods import floor, parse_moment
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.selectors import newest_event
from inference.registry.models import Model

DEFAULT_DAYS = 30
PRESETS = (7, 30, 90, 365)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class TimeRange:
    """`[start, end)` in event time; `newest` is the model's newest event, None before the first."""

    start: datetime
    end: datetime
    newest: datetime | None
    is_default: bool

    @property
    def suffix(self) -> str:
        """What links add to keep a range that was chosen."""
        return (
            ""
            if self.is_default
            else "?" + urlencode({"from": self._text(self.start), "to": self._text(self.end)})
        )

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
        ends_now = self.newest is None or self.end > self.newest
        chosen = DEFAULT_DAYS if self.is_default else self.days
        return [(days, ends_now and days == chosen) for days in PRESETS]

    @property
    def misses_newest(self) -> bool:
        return self.newest is not None and not self.start <= self.newest < self.end

    @staticmethod
    def _text(moment: datetime) -> str:
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def range_of(request: HttpRequest, model: Model) -> TimeRange:
    """Read `?from=&to=`: dates (the end included), RFC 3339, or `-7d` counted back from the newest event."""
    newest = newest_event(model)
    edge = floor(newest or now(), "day") + _DAY
    start_text, end_text = request.GET.get("from", ""), request.GET.get("to", "")
    end = _read(end_text, edge, inclusive=True) if end_text else edge
    start = _read(start_text, end) if start_text else _default_start(model, end)
    if start >= end:
        raise Problem(400, "invalid_range", f"The range ends ({end_text}) before it starts ({start_text}).")
    return TimeRange(start, end, newest, is_default=not (start_text or end_text))


def _default_start(model: Model, end: datetime) -> datetime:
    """Some weeks before the end, but not before the first event: a young model needs no empty axis."""
    start = end - DEFAULT_DAYS * _DAY
    oldest = (
        PredictionChunk.objects.filter(model=model).order_by("day").values_list("start", flat=True).first()
    )
    return start if oldest is None else max(start, min(floor(oldest, "day"), end - _DAY))


def _read(text: str, edge: datetime, *, inclusive: bool = False) -> datetime:
    try:
        if len(text) == len("2026-01-31"):
            day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
            return day + _DAY if inclusive else day
        return parse_moment(text, now=edge)
    except (ValueError, OverflowError) as error:
        raise Problem(
            400, "invalid_range", f"{text[:40]!r} is not a time; use 2026-01-31, 2026-01-31T06:00:00Z or -7d."
        ) from error
