"""How the embedded server's archiver does: whether it fails or is late, and what its archive holds."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.db import connection

from driftline.base.accounts.models import AuditEntry
from driftline.operations.backup.making import MADE
from driftline.operations.services.paths import HomePaths
from driftline.operations.services.wal_archive import QUIET_AFTER, log_name, size_of_archive


@dataclass(frozen=True)
class ArchiverState:
    """What the server says of its archiver, and what lies in the archive."""

    is_on: bool
    is_failing: bool
    archived_at: datetime | None
    """When the last segment was archived, since the server's statistics began."""
    waiting: int
    """Segments that are not archived yet: the database's disk keeps them."""
    waiting_since: datetime | None
    archive_bytes: int
    has_base: bool
    """Whether a backup was made from which this log can be replayed."""

    def is_late(self, now: datetime) -> bool:
        """Return whether segments wait for longer than the archiver needs."""
        return self.waiting_since is not None and now - self.waiting_since > QUIET_AFTER


def read_archiver(paths: HomePaths, archive: Path) -> ArchiverState:
    """Ask the server, and add up the files of the archive."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('archive_mode') = 'on', last_archived_time, "
            "coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false) FROM pg_stat_archiver"
        )
        is_on, archived_at, is_failing = cursor.fetchone()
        cursor.execute(
            "SELECT count(*), min(modification) FROM pg_ls_archive_statusdir() WHERE name LIKE '%%.ready'", []
        )
        waiting, waiting_since = cursor.fetchone()
    made = AuditEntry.objects.filter(action=MADE, after__log=log_name(paths))
    return ArchiverState(
        is_on=is_on,
        is_failing=is_failing,
        archived_at=archived_at,
        waiting=waiting,
        waiting_since=waiting_since,
        archive_bytes=size_of_archive(archive),
        has_base=made.exists(),
    )
