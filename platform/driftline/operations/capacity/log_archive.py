"""The size and growth of the archive of the write-ahead log, measured every hour.

Each file of the archive is looked at for its size, so pages show the last measurement and never measure themselves.
"""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from django.conf import settings
from django.core.cache import cache

from driftline.operations.capacity.samples import KEPT, MIN_OVER, database_folder
from driftline.operations.services.paths import home_paths
from driftline.operations.services.wal_archive import log_name, segments_since, size_of_archive
from driftline.operations.services.wal_segment import ARTIFACTS

_DAY = timedelta(days=1)
_KEY = "log-archive-sample"
_VALID_SECONDS = 3 * 3600  # two measurements may fail


class ArchiveSample(msgspec.Struct, frozen=True):
    """What the archive and its file system held at a moment, and how much log of the last week was archived."""

    folder: str
    at: datetime
    bytes: int
    free_bytes: int
    total_bytes: int
    log_bytes: int
    """Of the segments of the current log, as they are compressed, from `log_days` before the last of them."""
    log_days: float

    @property
    def log_a_day(self) -> float | None:
        """Return how many bytes of log are archived a day; None where less than an hour of it is there."""
        return self.log_bytes / self.log_days if self.log_days >= MIN_OVER / _DAY else None


def archive_folder() -> Path | None:
    """Return the folder to which our own PostgreSQL is to archive its log; None where it archives none."""
    return settings.WAL_ARCHIVE if database_folder() else None


def record_log_archive(moment: datetime) -> None:
    """Measure the archive and note it; nothing is noted while the archive is away or files are deleted from it."""
    if (archive := archive_folder()) is None:
        return
    try:
        sample = _measure(archive, moment)
    except OSError:  # `manage.py doctor` says what to mend
        return
    cache.set(_KEY, msgspec.to_builtins(sample), _VALID_SECONDS)


def read_log_archive() -> ArchiveSample | None:
    """Return the last measurement of the archive; None where none was made of late, or of another folder."""
    stored = cache.get(_KEY)
    sample = None if stored is None else msgspec.convert(stored, ArchiveSample)
    return sample if sample is not None and sample.folder == str(archive_folder()) else None


def _measure(archive: Path, moment: datetime) -> ArchiveSample:
    (archive / ARTIFACTS).stat()  # it is missing where the archive's disk is not mounted
    usage = shutil.disk_usage(archive)
    segments = segments_since(archive / log_name(home_paths(settings.HOME)), moment - KEPT)
    return ArchiveSample(
        folder=str(archive),
        at=moment,
        bytes=size_of_archive(archive),
        free_bytes=usage.free,
        total_bytes=usage.total,
        # What the first holds was written before its own time.
        log_bytes=sum(segment.path.stat().st_size for segment in segments[1:]),
        log_days=(segments[-1].written_until - segments[0].written_until) / _DAY if segments else 0,
    )
