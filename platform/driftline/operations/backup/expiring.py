"""Deletes archived log that no backup from a named one on needs."""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import Error, transaction

from driftline.base.accounts.services import record_audit
from driftline.operations.backup.base import check_base
from driftline.operations.backup.database import DatabaseFailed
from driftline.operations.backup.making import reachable_database
from driftline.operations.backup.manifest import Base, NoBackup, read_manifest
from driftline.operations.services.paths import HomePaths, home_paths
from driftline.operations.services.wal_archive import files_before, had_ended, log_name, logs_of

EXPIRED = "archive.expired"


class NotExpired(Exception):
    """Nothing was deleted; the text says why, and what to do."""


@dataclass(frozen=True)
class Expired:
    """What was deleted from an archive, or would be, and which earlier logs were kept as they had not ended."""

    files: int
    bytes: int
    kept: list[str]


def expire_log(folder: Path, *, is_dry: bool) -> Expired:
    """Delete the log from before a backup, and say so in the audit trail; with `is_dry` only count it.

    Raises NotExpired, where the backup does not lead to moments itself too: earlier ones may be all there is.
    """
    archive, paths = settings.WAL_ARCHIVE, home_paths(settings.HOME)
    if archive is None or not archive.is_dir():
        raise NotExpired("Set DRIFTLINE_WAL_ARCHIVE to the folder of the archive.")
    if not paths.postgres_data.exists():
        raise NotExpired(
            f"{paths.home} has no database; name the home of this installation by DRIFTLINE_HOME."
        )
    base = _read_base(folder, archive)
    earlier = [log for log in logs_of(archive) if log.name < base.log]
    ended = [log for log in earlier if log.name != log_name(paths) and had_ended(log, base.usable_from)]
    files = files_before(archive / base.log, base.first_segment)
    files += [path for log in ended for path in log.iterdir()]
    found = Expired(
        len(files),
        sum(path.stat().st_size for path in files),
        [log.name for log in earlier if log not in ended],
    )
    if not is_dry:
        _note(paths, folder, found)
        for path in files:
            path.unlink()
        for log in ended:
            log.rmdir()
    return found


def _read_base(folder: Path, archive: Path) -> Base:
    try:
        base = read_manifest(folder).base
        if base is None:
            raise NotExpired(f"{folder} was made while no log was archived; name a backup that needs some.")
        if not (archive / base.log).is_dir():
            raise NotExpired(f"{archive} has no log of {folder}; name a backup of this installation.")
        check_base(folder, base)
    except NoBackup as error:
        raise NotExpired(f"{error} Nothing was deleted; name a whole backup.") from error
    return base


def _note(paths: HomePaths, folder: Path, found: Expired) -> None:
    """Record it beforehand: a deletion that is interrupted has an entry too."""
    try:
        with reachable_database(paths, "expire_wal"), transaction.atomic():
            record_audit(
                project=None,
                actor="command line",
                action=EXPIRED,
                subject=str(folder)[:200],
                after={"files": found.files, "bytes": found.bytes, "kept": found.kept},
            )
    except (DatabaseFailed, Error) as error:
        raise NotExpired(f"Nothing was deleted, as the audit trail cannot be written: {error}") from error
