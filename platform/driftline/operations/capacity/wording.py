"""What is known of capacity, in sentences: what cannot be known is named, never guessed."""

from datetime import timedelta

from driftline.base.byte_sizes import format_bytes
from driftline.base.number_format import format_number
from driftline.operations.capacity.figures import MAX_DAYS, Capacity, DailyGrowth, Disk
from driftline.operations.capacity.log_archive import ArchiveSample
from driftline.operations.capacity.samples import MIN_OVER

SOON = timedelta(days=14)
NOT_SEEN = "the server is external: look at it there, its disk is not seen from here"


def describe_rows(capacity: Capacity) -> str:
    """Return how fast rows came, by their event time: an import of the past is not in it."""
    hour, day = capacity.rows_last_hour, capacity.rows_last_day
    return (
        f"{format_number(hour / 3600)}/s in the last whole hour ({hour:,}), "
        f"{format_number(day / 86_400)}/s in the last 24 ({day:,}), by event time"
    )


def describe_size(capacity: Capacity) -> str:
    """Return what the database holds."""
    now = capacity.now
    return (
        f"{format_bytes(now.database_bytes)}: the log {format_bytes(now.log_bytes)}, "
        f"summaries and points {format_bytes(now.summary_bytes)}"
    )


def describe_growth(growth: DailyGrowth | None) -> str:
    """Return how many bytes more there are a day."""
    if growth is None:
        hours = MIN_OVER / timedelta(hours=1)
        return (
            f"not known yet: it is measured every hour, and two measurements {hours:.0f} h apart are needed"
        )
    return (
        f"{_signed(growth.database)} a day: the log {_signed(growth.log)}, summaries and points "
        f"{_signed(growth.summaries)}; over the last {_length(growth.days)}"
    )


def describe_log_archive(archive: ArchiveSample | None) -> str:
    """Return how large the archive of the write-ahead log is, how fast it grows, and what makes room in it."""
    if archive is None:
        return "not known: the hourly measurement was not made yet, or the archive was away"
    if archive.log_a_day is None:
        growth = "how much log is archived a day is not known yet, as less than an hour of it is there"
    else:
        growth = f"{format_bytes(archive.log_a_day)} of log a day, over {_length(archive.log_days)} of it"
    size = f"{format_bytes(archive.bytes)} at {archive.at:%Y-%m-%d %H:%M} UTC"
    return f"{size}; {growth}; manage.py expire_wal makes room"


def describe_disk(disk: Disk) -> str:
    """Return what room a disk has, and for how long."""
    room = f"{format_bytes(disk.free)} of {format_bytes(disk.total)} free at {disk.folder}"
    if disk.lost_a_day is None:
        return f"{room}; how fast it fills is not known yet"
    days = disk.days_until_full
    if days is None:
        later = f" within {MAX_DAYS // 365} years" if disk.lost_a_day > 0 else ""
        return f"{room}; not filling{later}"
    return f"{room}; {format_bytes(disk.lost_a_day)} less a day, full in {_length(days)}"


def fills_soon(disk: Disk) -> bool:
    """Return whether somebody should make room."""
    days = disk.days_until_full
    return days is not None and timedelta(days=days) < SOON


def _signed(count: float) -> str:
    return f"{'+' if count >= 0 else ''}{format_bytes(count)}"


def _length(days: float) -> str:
    return f"{format_number(days * 24, 2)} hours" if days < 2 else f"{format_number(days)} days"
