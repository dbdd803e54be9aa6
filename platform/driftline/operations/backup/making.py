"""Makes a backup of an installation, which may be in use."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings
from django.db import transaction

from driftline.base.accounts.models import AuditEntry
from driftline.base.accounts.services import record_audit
from driftline.base.durable_files import sync_to_disk
from driftline.operations.backup import database, home_files
from driftline.operations.backup.base import take_base
from driftline.operations.backup.erasures import ErasureAtWork, paused_erasures
from driftline.operations.backup.manifest import FORMAT, BackupManifest, part_of, write_manifest
from driftline.operations.backup.signature import sign_manifest
from driftline.operations.services.ownership import Owner, current_owner, own
from driftline.operations.services.paths import HomePaths, create_folders, home_paths

UNFINISHED = ".unfinished"
MADE = "backup.made"
"""The act in the audit trail by which `doctor` knows the last backup."""

type Say = Callable[[str], None]


class NotMade(Exception):
    """No backup was made, and nothing is left of it; the text says why."""


def make_backup(
    target: Path, keys: Path | None, say: Say, *, is_noted: bool = True, takes_base: bool = True
) -> BackupManifest:
    """Back up this installation into the new folder `target`, and its keys into the folder `keys` if one is given.

    What was acknowledged before it began is in it: rows that wait in spools too. Raises NotMade. With `is_noted` the
    audit trail says so; before a migration its table may not fit yet, so call `note_backup` afterwards.
    Where the log is archived, it has a base from which later moments are restored, unless `takes_base` is False.
    """
    paths = home_paths(settings.HOME)
    _check_places(paths.home, target, keys)
    draft = target.with_name(target.name + UNFINISHED)
    kept_keys = None if keys is None else keys / keys_name(target.name)
    is_made = False
    create_folders(paths)
    with _alone(paths):
        try:
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(mode=0o700, parents=True)
            with reachable_database(paths, "a backup"):
                manifest = _write(paths.home, draft, kept_keys, say, takes_base=takes_base)
                draft.rename(target)
                is_made = True
                sync_to_disk(target.parent)
                if is_noted:
                    note_backup(target, manifest)
        except (OSError, database.DatabaseFailed, home_files.LinkInHome, ErasureAtWork) as error:
            raise NotMade(_describe(error, target)) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(paths.home / home_files.STAGE, ignore_errors=True)
            if kept_keys is not None and not is_made:
                kept_keys.unlink(missing_ok=True)
    return manifest


def _check_places(home: Path, target: Path, keys: Path | None) -> None:
    """Refuse places that would be part of the next backup, or where something lies already."""
    for place in (target, *([] if keys is None else [keys])):
        found = place.resolve()
        if found.is_relative_to(home.resolve()) and not found.is_relative_to(
            home.resolve() / home_files.BACKUPS
        ):
            raise NotMade(f"{place} is in {home}, which is backed up; name a folder outside it.")
    if target.exists():
        raise NotMade(f"{target} exists; name a folder that does not, such as one with today's date.")
    if keys is not None and (kept := keys / keys_name(target.name)).exists():
        raise NotMade(f"{kept} exists, with the keys of another backup of that name; name another folder.")


@contextlib.contextmanager
def _alone(paths: HomePaths) -> Iterator[None]:
    """Hold the home's lock of backups; raises NotMade where another is being made."""
    with (paths.run / "backup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotMade("Another backup of this home is being made; wait for it.") from error
        yield


@contextlib.contextmanager
def reachable_database(paths: HomePaths, what: str) -> Iterator[None]:
    """Make the database run: an installation that is stopped has it started meanwhile, and `what` owns the home."""
    if settings.DATABASE_URL or current_owner(paths) is not None:
        yield
        return
    running = database.running_database(paths, embedded=True, wal_archive=settings.WAL_ARCHIVE)
    with own(paths, Owner(os.getpid(), what, "")), running:
        yield


def _write(home: Path, draft: Path, kept_keys: Path | None, say: Say, *, takes_base: bool) -> BackupManifest:
    base = None
    if takes_base:
        say("Copying the database's files ...")
        base = take_base(draft, home)
    with contextlib.ExitStack() as fixed:
        staged, taken = _fix_moment(home, fixed, say)
        say("Dumping the database ...")
        database.dump(taken, draft / "database.dump")
        rows = taken.count_rows()
    say("Packing the files ...")
    archives = home_files.pack(staged, draft)
    parts = {
        name: part_of(path) for name, path in {"database.dump": draft / "database.dump", **archives}.items()
    }
    if kept_keys is not None:
        _move_keys(archives["keys.tar"], kept_keys)
    manifest = BackupManifest(
        format=FORMAT,
        moment=taken.moment,
        server_version=taken.server_version,
        migrations=taken.migrations,
        rows=rows,
        parts=parts,
        keys_are_apart=kept_keys is not None,
        base=base,
    )
    sync_to_disk(draft / "database.dump")
    write_manifest(draft, manifest)
    sign_manifest(draft)
    return manifest


def _fix_moment(home: Path, fixed: contextlib.ExitStack, say: Say) -> tuple[Path, database.Snapshot]:
    """Stage the files, and fix the database until `fixed` is closed; both are of one moment."""
    with paused_erasures(say):
        say("Staging the files ...")
        staged = home_files.stage(home)
        taken = fixed.enter_context(database.snapshot())
        home_files.stage_what_is_new(home, staged)
        home_files.freeze_spools(staged)
    return staged, taken


def _move_keys(archive: Path, kept: Path) -> None:
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.move(archive, kept)
    sync_to_disk(kept)
    sync_to_disk(kept.parent)


def keys_name(backup: str) -> str:
    """Name the file of keys of a backup, where they are kept apart."""
    return f"{backup}.keys.tar"


def note_backup(target: Path, manifest: BackupManifest) -> None:
    """Record a backup in the audit trail, by which `doctor` knows it."""
    with transaction.atomic():
        record_audit(
            project=None,
            actor="command line",
            action=MADE,
            subject=str(target)[:200],
            after={
                "moment": manifest.moment,
                "bytes": manifest.bytes,
                "log": manifest.base.log if manifest.base else None,
            },
        )


def found_no_room(error: Exception) -> bool:
    """Whether a disk was full, also where a program says so in its own words."""
    full = {errno.ENOSPC, errno.EDQUOT}
    return (isinstance(error, OSError) and error.errno in full) or os.strerror(errno.ENOSPC) in str(error)


def _describe(error: Exception, target: Path) -> str:
    if found_no_room(error):
        return f"There is no room for the backup in {target.parent}; free some, or name a folder on another disk."
    return str(error)


def last_backup() -> AuditEntry | None:
    """Return the audit row of the last backup; None where none was made."""
    return AuditEntry.objects.filter(action=MADE).order_by("-pk").first()
