"""One upgrade from its checks to its audit row."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import Error, transaction

from driftline.base.accounts.services import record_audit
from driftline.base.byte_sizes import format_bytes
from driftline.base.feature import Finding
from driftline.base.work.advisory_locks import AdvisoryLock, session_lock
from driftline.operations.backup import database, home_files
from driftline.operations.backup.database import DatabaseFailed
from driftline.operations.backup.making import NotMade, Say, make_backup, note_backup, reachable_database
from driftline.operations.backup.manifest import BackupManifest
from driftline.operations.backup.mark import describe_mark
from driftline.operations.services.diagnosis import MIN_FREE_BYTES, diagnose_database, diagnose_machine
from driftline.operations.services.ownership import AlreadyRunning
from driftline.operations.services.paths import HomePaths, UnsafeSocketFolder, create_folders
from driftline.operations.services.postgres import NoPostgres, WrongPostgresVersion
from driftline.operations.services.processes import ChildNotStarted
from driftline.operations.upgrade.applying import TablesInUse, apply_pending
from driftline.operations.upgrade.pending import PendingMigrations, count_migrations, read_pending

APPLIED = "upgrade.applied"
AFTERWARDS = "What follows the migrations"
NOTHING_YET = "The database holds nothing yet: `manage.py up` makes it, or `manage.py migrate`."
LOCK_TRIES = 10  # a killed upgrade keeps its lock until the database notices, within a second or two
LOCK_PAUSE_SECONDS = 0.5


class NotUpgraded(Exception):
    """The upgrade was refused, or stopped on its way; the text says why, and what to do."""


@dataclass(frozen=True)
class UpgradeReport:
    """What an upgrade did."""

    applied: tuple[str, ...] = ()
    seconds: float = 0.0
    """Of the migrations, without the backup."""
    stopped_at: str | None = None
    """What was not applied, if anything: a migration, or what Django does after them."""


@contextmanager
def ready_to_upgrade(paths: HomePaths, say: Say) -> Iterator[PendingMigrations]:
    """Check the installation, have its database run and locked for upgrades, and say what is pending.

    Raises NotUpgraded with the remedy, also for what fails inside the block.
    """
    if reason := describe_mark(paths.home):
        raise NotUpgraded(reason)
    for finding in diagnose_machine(paths):
        _refuse(finding)
    if not settings.DATABASE_URL and not paths.postgres_data.exists():
        raise NotUpgraded(NOTHING_YET)
    try:
        create_folders(paths)
        with reachable_database(paths, "an upgrade"):
            _refuse(diagnose_database())
            with _alone():
                pending = read_pending()
                _refuse_release(pending)
                for line in pending.describe():
                    say(line)
                yield pending
    except (
        AlreadyRunning,
        ChildNotStarted,
        DatabaseFailed,
        Error,
        NoPostgres,
        NotMade,
        OSError,
        UnsafeSocketFolder,
        WrongPostgresVersion,
    ) as error:
        raise NotUpgraded(str(error).strip()) from error


def _refuse(finding: Finding) -> None:
    if not finding.is_fine:
        raise NotUpgraded(f"{finding.subject}: {finding.text}. {finding.remedy}")


def _refuse_release(pending: PendingMigrations) -> None:
    if pending.refused:
        raise NotUpgraded(str(pending.refused))
    if pending.is_new:
        raise NotUpgraded(NOTHING_YET)


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of upgrades; raises NotUpgraded where another runs."""
    for _ in range(LOCK_TRIES):
        with session_lock(AdvisoryLock.UPGRADE) as is_held:
            if is_held:
                yield
                return
        time.sleep(LOCK_PAUSE_SECONDS)
    raise NotUpgraded("Another upgrade of this database is running; wait for it.")


def upgrade(paths: HomePaths, backup: Path | None, say: Say) -> UpgradeReport:
    """Back up into the new folder `backup`, if one is given, apply what is pending, record it. Raises NotUpgraded."""
    with ready_to_upgrade(paths, say) as pending:
        if not pending.names:
            return UpgradeReport()
        made = None
        if backup is not None:
            _check_room(paths, backup)
            backup.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = make_backup(backup, None, say, is_noted=False, takes_base=False)
        say("Migrating ...")
        applied: list[str] = []
        began = time.monotonic()
        try:
            apply_pending(applied, say)
        except Exception as error:  # a migration may run any program
            stopped_at = pending.names[len(applied)] if len(applied) < len(pending.names) else AFTERWARDS
            report = UpgradeReport(tuple(applied), time.monotonic() - began, stopped_at)
            with suppress(Error):  # the audit trail's table may not fit yet, or the database be away
                _record(report, backup, made)
            raise NotUpgraded(_describe_stop(error, report, backup)) from error
        report = UpgradeReport(tuple(applied), time.monotonic() - began)
        _record(report, backup, made)
    return report


def _check_room(paths: HomePaths, backup: Path) -> None:
    """Refuse a disk that the backup may fill; the spool needs room of its own where it lies there too."""
    folder = next(parent for parent in backup.parents if parent.exists())
    needed = database.stored_bytes() + home_files.kept_bytes(paths.home)
    if folder.stat().st_dev == paths.home.stat().st_dev:
        needed += MIN_FREE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NotUpgraded(
            f"The backup may need {format_bytes(needed)} and {folder} has {format_bytes(free)} free; name a folder on "
            "another disk with --backup, or state --no-backup if you have one."
        )


def _describe_stop(error: Exception, report: UpgradeReport, backup: Path | None) -> str:
    kind = "" if isinstance(error, TablesInUse | Error) else f"{type(error).__name__}: "
    return (
        f"{report.stopped_at} was not applied, and nothing of it is kept. "
        f"{count_migrations(len(report.applied))} before it stay applied. Run `manage.py upgrade` again to continue"
        + (f"; {backup} holds everything as it was before this run." if backup else ".")
        + f" What stopped it: {kind}{str(error).strip()}"
    )


def _record(report: UpgradeReport, backup: Path | None, made: BackupManifest | None) -> None:
    if backup is not None and made is not None:
        note_backup(backup, made)
    if not report.applied:
        return
    with transaction.atomic():
        record_audit(
            project=None,
            actor="command line",
            action=APPLIED,
            subject=count_migrations(len(report.applied)),
            after={
                "migrations": report.applied,
                "seconds": round(report.seconds, 1),
                "backup": None if backup is None else str(backup),
                "stopped_at": report.stopped_at,
            },
        )
