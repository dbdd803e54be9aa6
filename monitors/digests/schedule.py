"""When a digest is due: pure, so that a test can walk through years and changes of the clock."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo


def last_due(now: datetime, *, is_weekly: bool, weekday: int, hour: int, zone: str) -> datetime:
    """Return the newest moment up to `now` at which a digest is due, in UTC.

    It is at a full hour of the local clock. An hour that the clock skips in spring counts as the one that comes in its
    place, and of one that it shows twice in autumn the first counts.
    """
    local = now.astimezone(ZoneInfo(zone))
    day = local.date()
    if is_weekly:
        day -= timedelta(days=(day.weekday() - weekday) % 7)
    due = _at(day, hour, zone)
    return due if due <= now else _at(day - timedelta(days=7 if is_weekly else 1), hour, zone)


def _at(day: date, hour: int, zone: str) -> datetime:
    return datetime.combine(day, time(hour), ZoneInfo(zone)).astimezone(UTC)
