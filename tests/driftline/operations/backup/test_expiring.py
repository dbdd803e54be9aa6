"""Log from before a backup is deleted from the archive, and none that anybody may need still."""

import gzip
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from driftline.base.accounts.models import AuditEntry
from driftline.operations.backup.base import BASE
from driftline.operations.backup.expiring import EXPIRED
from driftline.operations.backup.manifest import FORMAT, BackupManifest, Base, part_of, write_manifest
from driftline.operations.services.ownership import Owner, own
from driftline.operations.services.paths import HomePaths
from driftline.operations.services.wal_segment import name_log
from tests.embedded import make_home

pytestmark = pytest.mark.django_db

MADE_AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
LONG_BEFORE, SOON_BEFORE, AFTER = (MADE_AT + timedelta(minutes=minutes) for minutes in (-60, -5, 5))
NAMES = ["000000010000000000000001", "000000010000000000000002", "000000010000000000000003"]
EARLIER, LOG = "20261101T000000Z-00000000", "20261130T000000Z-00000000"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with the log of the backup, from which that needs the second segment on."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for name in NAMES:
        write_segment(folder / LOG, name, at=LONG_BEFORE)
    return folder


@pytest.fixture
def home(tmp_path: Path, archive: Path, settings: Any) -> Iterator[HomePaths]:
    """The home of an installation that runs, and archives to the log of the backup."""
    paths = make_home(tmp_path / "home")
    paths.postgres_data.mkdir()
    name_log(paths.postgres_data, archive)
    settings.HOME, settings.WAL_ARCHIVE = paths.home, archive
    with own(paths, Owner(os.getpid(), "a test", "")):
        yield paths


@pytest.fixture
def backup(tmp_path: Path, home: HomePaths) -> Path:
    folder = tmp_path / "backup"
    (folder / BASE).mkdir(parents=True)
    (folder / BASE / "base.tar.gz").write_bytes(b"the files of a server")
    (folder / BASE / "pg_wal.tar.gz").write_bytes(b"its log")
    base = Base(
        log=LOG,
        first_segment=NAMES[1],
        usable_from=MADE_AT,
        parts={path.name: part_of(path) for path in (folder / BASE).iterdir()},
    )
    manifest = BackupManifest(
        format=FORMAT,
        moment=MADE_AT.isoformat(),
        server_version=180_000,
        migrations={},
        rows={},
        parts={},
        keys_are_apart=False,
        base=base,
    )
    write_manifest(folder, manifest)
    return folder


def write_segment(log: Path, name: str, *, at: datetime) -> None:
    log.mkdir(exist_ok=True)
    with gzip.GzipFile(log / f"{name}.gz", "wb", mtime=at.timestamp()) as file:
        file.write(b"rows")


def expire(backup: Path, *options: str) -> str:
    output = StringIO()
    call_command("expire_wal", str(backup), *options, stdout=output)
    return output.getvalue()


def files_of(archive: Path) -> set[str]:
    return {str(path.relative_to(archive)) for path in archive.rglob("*") if path.is_file()}


def test_nothing_but_log_of_before_the_backup_is_deleted(archive: Path, backup: Path) -> None:
    write_segment(archive / EARLIER, NAMES[2], at=LONG_BEFORE)
    write_segment(archive / LOG, f"{NAMES[0]}.00000028.backup", at=LONG_BEFORE)
    (archive / LOG / f".{NAMES[0]}.gz.abc.unfinished").touch()
    write_segment(archive / "artifacts", "model", at=LONG_BEFORE)
    write_segment(archive / ".snapshots", NAMES[0], at=LONG_BEFORE)

    counted = expire(backup, "--dry-run")
    deleted = expire(backup)

    assert counted.replace("would be", "were") == deleted
    assert deleted.startswith("4 files of the log")
    assert files_of(archive) == {
        f"{LOG}/{NAMES[1]}.gz",
        f"{LOG}/{NAMES[2]}.gz",
        "artifacts/model.gz",
        f".snapshots/{NAMES[0]}.gz",
    }
    assert not (archive / EARLIER).exists()


@pytest.mark.parametrize("written_at", [SOON_BEFORE, AFTER])
def test_a_log_that_began_earlier_and_is_written_still_is_kept(
    archive: Path, backup: Path, written_at: datetime
) -> None:
    """As that of the installation from which this one was restored to rehearse it."""
    write_segment(archive / EARLIER, NAMES[0], at=LONG_BEFORE)
    write_segment(archive / EARLIER, NAMES[1], at=written_at)

    said = expire(backup)

    assert f"{EARLIER} is kept" in said
    assert "an archive of its own" in said
    assert {f"{EARLIER}/{NAMES[0]}.gz", f"{EARLIER}/{NAMES[1]}.gz"} <= files_of(archive)


def test_the_log_of_this_installation_is_kept_where_its_clock_stepped_back(
    archive: Path, backup: Path, home: HomePaths
) -> None:
    (home.postgres_data / "driftline_archive").write_text(f"{EARLIER}\n{archive}")
    write_segment(archive / EARLIER, NAMES[0], at=LONG_BEFORE)

    assert f"{EARLIER} is kept" in expire(backup)
    assert f"{EARLIER}/{NAMES[0]}.gz" in files_of(archive)


def test_nothing_is_deleted_for_a_backup_that_is_not_whole(archive: Path, backup: Path) -> None:
    """The earlier ones may be all that there is."""
    (backup / BASE / "base.tar.gz").write_bytes(b"cut")
    before = files_of(archive)

    with pytest.raises(CommandError, match=r"was cut or changed\. Nothing was deleted; name a whole backup"):
        expire(backup)
    assert files_of(archive) == before


def test_nothing_is_deleted_from_a_home_without_a_database(
    archive: Path, backup: Path, home: HomePaths, tmp_path: Path, settings: Any
) -> None:
    settings.HOME = tmp_path / "another"
    before = files_of(archive)

    with pytest.raises(CommandError, match="has no database; name the home of this installation"):
        expire(backup)
    assert files_of(archive) == before


def test_the_audit_trail_says_what_was_deleted(archive: Path, backup: Path) -> None:
    expire(backup, "--dry-run")
    assert not AuditEntry.objects.filter(action=EXPIRED).exists()

    expire(backup)

    entry = AuditEntry.objects.get(action=EXPIRED)
    assert (entry.actor, entry.subject) == ("command line", str(backup))
    assert entry.after["files"] == 1
