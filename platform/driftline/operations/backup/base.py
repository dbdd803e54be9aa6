"""The base in a backup: the files of the embedded server, from which its archived log is replayed to a moment."""

import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import connection

from driftline.base.accounts.models import AuditEntry
from driftline.operations.backup import database
from driftline.operations.backup.database import DatabaseFailed
from driftline.operations.backup.manifest import BackupManifest, Base, check_parts, part_of
from driftline.operations.key_rotation import ROTATED
from driftline.operations.services.paths import HomePaths, home_paths
from driftline.operations.services.postgres import installed_version, postgres_binaries, postgres_child
from driftline.operations.services.wal_archive import (
    check_segments,
    log_name,
    recovery_options,
    segments_for,
)
from driftline.operations.services.wal_segment import ARTIFACTS
from inference.prediction_log.erasure.models import Erasure

BASE = "base"
"""The folder of it in a backup."""
_FILES = ("base.tar.gz", "pg_wal.tar.gz")
_FIRST_SEGMENT = re.compile(rb"^START WAL LOCATION: .* \(file ([0-9A-F]{24})\)$", re.MULTILINE)
_MAX_LABEL_BYTES = 10_000
_TOO_EARLY = "recovery ended before configured recovery target was reached"
LATEST = "latest"
"""Instead of a moment: the end of the log."""
_REPLAY_SECONDS = 7 * 24 * 3600.0  # it ends by itself, or fails: a week of log may take hours


class NoMoment(Exception):
    """The moment cannot be restored from this backup; the text says why, and nothing was touched."""


@dataclass(frozen=True)
class LogReplay:
    """A log that was checked: from this backup it leads to the moment, or to its end."""

    log: Path
    last: str
    """The last segment that was checked."""
    since: datetime
    until: datetime | None


def take_base(draft: Path, home: Path) -> Base | None:
    """Copy the files of the server into a folder of the backup; None where its log is not archived."""
    log = log_name(home_paths(home))
    if settings.DATABASE_URL or not log:
        return None
    folder = draft / BASE
    database.copy_cluster(folder)
    if log_name(home_paths(home)) != log:
        raise DatabaseFailed(
            "A part of the log was given up meanwhile, as `doctor` says; make the backup again."
        )
    return Base(
        log=log,
        first_segment=_read_first_segment(folder / "base.tar.gz"),
        usable_from=datetime.fromisoformat(database.read_moment()),
        parts={name: part_of(folder / name) for name in _FILES},
    )


def _read_first_segment(archive: Path) -> str:
    with tarfile.open(archive) as packed:
        for member in packed:  # the first one, in fact
            if member.name == "backup_label" and (label := packed.extractfile(member)) is not None:
                found = _FIRST_SEGMENT.search(label.read(_MAX_LABEL_BYTES))
                if found is not None:
                    return found[1].decode()
    raise DatabaseFailed(f"{archive} has no backup_label that names a segment, so it is no base.")


def check_moment(folder: Path, manifest: BackupManifest, until: datetime | None) -> LogReplay:
    """Check that a backup and the archive lead to a moment, reading all of both; raises NoMoment, LogDamaged, NoBackup.

    Without a moment the log is replayed to its end.
    """
    if settings.DATABASE_URL:
        raise NoMoment(
            "--until is for the embedded PostgreSQL; restore the one of DRIFTLINE_DATABASE_URL with its own tools."
        )
    if settings.WAL_ARCHIVE is None:
        raise NoMoment("Set DRIFTLINE_WAL_ARCHIVE to the folder to which the log was archived.")
    base = manifest.base
    if base is None:
        raise NoMoment(
            f"{folder} was made while no log was archived, so it can be restored without --until only."
        )
    if until is not None and until < base.usable_from:
        raise NoMoment(
            f"{folder} leads to moments from {base.usable_from:%Y-%m-%dT%H:%M:%S.%fZ} on; name a later one, or an "
            "earlier backup."
        )
    installed, version = installed_version(postgres_binaries()), str(manifest.server_version // 10_000)
    if installed != version:
        raise NoMoment(
            f"The log is of PostgreSQL {version} and {installed} is installed; install the release that wrote it."
        )
    log = settings.WAL_ARCHIVE / base.log
    segments = segments_for(log, first=base.first_segment, until=until)
    check_segments(segments)
    check_base(folder, base)
    return LogReplay(log, segments[-1].name, base.usable_from, until)


def check_base(folder: Path, base: Base) -> None:
    """Read the base of a backup to its end; raises NoBackup where it is not whole."""
    check_parts({name: folder / BASE / name for name in _FILES}, base.parts)


def unpack_base(folder: Path, paths: HomePaths) -> None:
    """Put the files of the server into a home that has none."""
    for name, target in zip(_FILES, (paths.postgres_data, paths.postgres_data / "pg_wal"), strict=True):
        target.mkdir(mode=0o700, exist_ok=True)
        with tarfile.open(folder / BASE / name) as packed:
            packed.extractall(target, filter="data")
    (paths.postgres_data / "recovery.signal").touch(mode=0o600)


def add_artifacts(replay: LogReplay, home: Path) -> Iterator[str]:
    """Add the models that came after the backup, and name those that are damaged in the archive.

    More than the moment knows does no harm.
    """
    source = replay.log.parent / ARTIFACTS
    for path in sorted(source.glob("??/*.onnx")):
        target = home / ARTIFACTS / path.parent.name / path.name
        if not target.exists():
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy2(path, target)
            if part_of(target).sha256 != path.stem:
                target.unlink()
                yield (
                    f"{path} was cut or changed, so its versions cannot be served: put a whole copy at {target}."
                )


@contextmanager
def replayed_database(paths: HomePaths, replay: LogReplay) -> Iterator[None]:
    """Replay the log on the unpacked base, and have the database answer meanwhile; raises DatabaseFailed."""
    child = postgres_child(paths, recovery=recovery_options(replay.log, last=replay.last, until=replay.until))
    try:
        with database.running_child(paths, replace(child, ready_seconds=_REPLAY_SECONDS)):
            yield
    except DatabaseFailed as error:
        if _TOO_EARLY not in str(error):
            raise
        raise DatabaseFailed(
            f"No transaction in {replay.log} is as late as {replay.until}; name an earlier moment, or --until "
            f"{LATEST}. What --replace put aside lies in a folder before-restore-... of {paths.home}."
        ) from error


def describe_replayed(since: datetime) -> Iterator[str]:
    """Yield how far the database came, and what of the backup, which was made at `since`, does not fit it any more."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_last_xact_replay_timestamp()")
        [last] = cursor.fetchone()
    if last is not None:  # none was replayed where the moment is right after the backup
        yield f"Its last transaction is of {last.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC."
    if AuditEntry.objects.filter(action=ROTATED, at__gt=since).exists():
        yield (
            "Keys were rotated after the backup, and what was sealed since cannot be opened with those in it: put the "
            "lines of the newer files of `keys` before those that are there. Of `edge_key` put both `edge_key` and "
            "`edge_successions` of the newer copy in place instead."
        )
    if Erasure.objects.filter(finished_at__gt=since).exists():
        yield "Subjects were erased after the backup, and its files may hold them still: erase them again."
