"""Restores a backup into a home that holds nothing, or after what it holds was put aside.

A mark lies in the home from the first change to the last: an interrupted restore is begun again by the same command,
and `up` and `serve` refuse such a home. The database of an embedded installation is loaded into a new cluster, or for a
moment after the backup, its files are put back and its log replayed (`base.py`); an external one must be empty, and is
loaded in one transaction.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from django.conf import settings
from django.db import connection

from driftline.base.durable_files import sync_to_disk
from driftline.base.keys.home_keys import remove_made_keys
from driftline.operations.backup import database, home_files
from driftline.operations.backup.base import (
    LATEST,
    LogReplay,
    NoMoment,
    add_artifacts,
    check_moment,
    describe_replayed,
    replayed_database,
    unpack_base,
)
from driftline.operations.backup.database import DatabaseFailed
from driftline.operations.backup.making import Say, found_no_room, keys_name
from driftline.operations.backup.manifest import BackupManifest, NoBackup, check_parts, read_manifest
from driftline.operations.backup.mark import RestoreMark, mark_path, read_mark, write_mark
from driftline.operations.backup.signature import check_signature
from driftline.operations.services.ownership import AlreadyRunning, Owner, own
from driftline.operations.services.paths import HomePaths, create_folders, home_paths
from driftline.operations.services.postgres import NoPostgres
from driftline.operations.services.wal_archive import LogDamaged
from driftline.operations.services.wal_segment import SEGMENT_BYTES
from driftline.operations.upgrade.pending import judge_release, read_pending

_OF_EVERY_START = frozenset({"keys", "log", "run", home_files.BACKUPS})
"""What the look at a home makes, and backups of it: one with no more holds nothing yet."""

MIN_SERVER_VERSION = 150_000
_ARCHIVES = ("files.tar", "keys.tar")


class NotRestored(Exception):
    """The backup was not restored; the text says why, and what to do."""


@dataclass(frozen=True)
class _Source:
    """The files of a backup."""

    folder: Path
    keys: Path

    @property
    def paths(self) -> dict[str, Path]:
        names = ("database.dump", "files.tar")
        return {name: self.folder / name for name in names} | {"keys.tar": self.keys}


@dataclass(frozen=True)
class Restored:
    """What a home holds after a restore: rows by table, as of `moment`, and what else there is to know."""

    moment: str
    rows: dict[str, int]
    remarks: Sequence[str]


def restore_backup(
    folder: Path,
    keys: Path | None,
    *,
    replace: bool,
    until: str | None = None,
    trust: bool = False,
    now: datetime,
    say: Say,
) -> Restored:
    """Restore a backup into this home and its database; with `replace` what the home holds is put aside first.

    With `until`, RFC 3339 or LATEST, the embedded database is brought to that moment, or to the end of its archived
    log. Raises NotRestored. Nothing was touched where the backup itself is not whole, does not lead there, or has
    no signature that the keys know, unless `trust`.
    """
    paths = home_paths(settings.HOME)
    _remove_traces(paths)
    try:
        manifest = read_manifest(folder)
        source = _Source(folder, _find_keys(folder, keys, manifest))
        _check_release(manifest)
        say("Checking the backup ...")
        remark = "" if trust else check_signature(folder, source.keys, is_apart=manifest.keys_are_apart)
        check_parts(source.paths, manifest.parts)
        for name in _ARCHIVES:
            home_files.check_archive(source.paths[name], paths.home)
        database.check_dump(source.paths["database.dump"])
        replay = None if until is None else check_moment(folder, manifest, read_moment(until))
        if not paths.supervisor_lock.exists():
            _check_target(paths.home, manifest, read_mark(paths.home), replace=replace)
        create_folders(paths)
        with own(paths, Owner(os.getpid(), "a restore", now.isoformat(timespec="seconds"))):
            mark = read_mark(paths.home)
            is_loaded = _check_target(paths.home, manifest, mark, replace=replace)
            if mark is None:
                mark = RestoreMark("", "", f"{home_files.ASIDE}{now:%Y%m%dT%H%M%SZ}")
            mark = msgspec.structs.replace(mark, backup=str(folder), keys=str(keys or ""), until=until or "")
            write_mark(paths.home, mark)
            if not settings.DATABASE_URL:
                database.end_leftover(paths)
            _clear(paths.home, mark)
            say("Restoring the files ...")
            for name in _ARCHIVES:
                home_files.unpack(source.paths[name], paths.home)
            if replay is None:
                restored = _load(paths, source, manifest, say, is_loaded=is_loaded)
            else:
                restored = _replay(paths, source, replay, say)
            os.sync()
            mark_path(paths.home).unlink()
            sync_to_disk(paths.home)
    except (
        AlreadyRunning,
        DatabaseFailed,
        LogDamaged,
        NoBackup,
        NoMoment,
        NoPostgres,
        OSError,
        ValueError,
    ) as error:
        raise NotRestored(_describe(error, paths.home)) from error
    return replace_fields(restored, remarks=[*restored.remarks, *([remark] if remark else [])])


def _describe(error: Exception, home: Path) -> str:
    """Return why, and where the disk is full, that.

    A server that found no room for the next segment of its log ends without a word to its client.
    """
    if isinstance(error, DatabaseFailed):  # an external server may have a full disk of its own
        is_full = not settings.DATABASE_URL and (
            found_no_room(error) or shutil.disk_usage(home).free < SEGMENT_BYTES
        )
    else:
        is_full = found_no_room(error)
    if is_full:
        return f"There is no room for the restore in {home}; free some, and run the same command again."
    return str(error)


def read_moment(text: str) -> datetime | None:
    """Parse a moment with its offset from UTC; None for LATEST. Raises NoMoment."""
    if text == LATEST:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise NoMoment(f"{text!r} is no moment; write one such as 2026-11-30T12:00Z, or {LATEST}.")


def _find_keys(folder: Path, keys: Path | None, manifest: BackupManifest) -> Path:
    if not manifest.keys_are_apart:
        if keys is not None:
            raise NotRestored(f"The keys of {folder} lie in it, and --keys names others; leave that out.")
        return folder / "keys.tar"
    if keys is None:
        raise NotRestored(
            f"The keys of this backup were kept apart; name {keys_name(folder.name)} with --keys."
        )
    return keys / keys_name(folder.name) if keys.is_dir() else keys


def _check_release(manifest: BackupManifest) -> None:
    applied = {(app, name) for app, names in manifest.migrations.items() for name in names}
    if refused := judge_release(applied, "The backup"):
        raise NotRestored(str(refused))


def _check_target(home: Path, manifest: BackupManifest, mark: RestoreMark | None, *, replace: bool) -> bool:
    """Refuse a home or a database that holds something, unless that is what an interrupted restore left.

    Returns whether such a restore has loaded the database already.
    """
    is_loaded = False
    if settings.DATABASE_URL:
        if database.server_version() < MIN_SERVER_VERSION:
            raise NotRestored("The database is older than PostgreSQL 15; restore into a newer one.")
        if not database.is_empty():
            is_loaded = mark is not None and database.loaded_rows() == manifest.rows
            if not is_loaded:
                raise NotRestored(
                    "The database of DRIFTLINE_DATABASE_URL holds tables; create an empty one, and name that instead."
                )
    if not replace and mark is None and (held := _held(home)):
        raise NotRestored(
            f"{home} is in use: it holds {', '.join(sorted(held)[:5])}. Name an empty folder by DRIFTLINE_HOME, or use "
            "--replace, which puts what it holds aside in a folder of its own."
        )
    return is_loaded


def _remove_traces(paths: HomePaths) -> None:
    """Remove what the start of this command has made in an empty home: a refused restore leaves it as it was."""
    if not paths.supervisor_lock.exists():
        remove_made_keys()
        with contextlib.suppress(OSError):  # it is not there, or in use
            paths.run.rmdir()


def _held(home: Path) -> set[str]:
    """Name what a home holds beyond what every start makes."""
    return {
        entry.name for entry in home.iterdir() if not entry.name.startswith(home_files.ASIDE)
    } - _OF_EVERY_START


def _clear(home: Path, mark: RestoreMark) -> None:
    """Put aside what the home held before the restore, all of it; remove what an interrupted one has made since."""
    entries = [
        entry
        for entry in home.iterdir()
        if entry.name not in {"run", "log", home_files.RESTORE_MARK, home_files.BACKUPS}
        and not entry.name.startswith(home_files.ASIDE)
    ]
    if mark.is_cleared:
        for entry in entries:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        return
    for entry in entries:
        (home / mark.aside).mkdir(mode=0o700, exist_ok=True)
        entry.rename(home / mark.aside / entry.name)
    write_mark(home, msgspec.structs.replace(mark, is_cleared=True))


def _load(
    paths: HomePaths, source: _Source, manifest: BackupManifest, say: Say, *, is_loaded: bool
) -> Restored:
    """Load the dump: the database is as it was at the moment of the backup."""
    embedded = not settings.DATABASE_URL
    with database.running_database(paths, embedded=embedded):
        connection.close()
        if not is_loaded:
            say("Loading the database ...")
            database.load(source.folder / "database.dump", at_once=not embedded)
        say("Counting the rows ...")
        _compare(manifest, database.loaded_rows())
    return Restored(manifest.moment, manifest.rows, ["The counts are equal to the backup's."])


def _replay(paths: HomePaths, source: _Source, replay: LogReplay, say: Say) -> Restored:
    """Replay the log: the database is as it was at a later moment, and the models that it may name are there."""
    remarks = list(add_artifacts(replay, paths.home))
    unpack_base(source.folder, paths)
    say("Replaying the log ...")
    with replayed_database(paths, replay):
        connection.close()
        _check_replayed_release()
        say("Counting the rows ...")
        moment = replay.until.isoformat() if replay.until else "the end of the archived log"
        remarks += describe_replayed(replay.since)
        return Restored(moment, database.loaded_rows(), remarks)


def _check_replayed_release() -> None:
    """The release may have been upgraded between the backup and the moment."""
    if refused := read_pending().refused:
        raise NotRestored(f"{refused.text} Install its release, and run the same command there.")


def _compare(manifest: BackupManifest, loaded: dict[str, int]) -> None:
    for table, rows in manifest.rows.items():
        if loaded.get(table) != rows:
            raise NotRestored(f"Table {table} has {loaded.get(table, 0):,} rows; the backup had {rows:,}.")
