"""What a restore says where it fails."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from driftline.backup.database import DatabaseFailed
from driftline.backup.manifest import FORMAT, BackupManifest, NoBackup, part_of, write_manifest
from driftline.backup.restoring import NotRestored, _describe, restore_backup
from driftline.common.clock import now
from tests.small_disk import mounted_disk

pytestmark = pytest.mark.slow

CLOSED = "pg_restore failed: server closed the connection unexpectedly"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk without room for a segment of PostgreSQL's log."""
    with mounted_disk(tmp_path, "8m") as disk:
        yield disk


@override_settings(DATABASE_URL="")
def test_a_server_that_ended_as_its_disk_was_full_is_said_to_need_room(small_disk: Path) -> None:
    said = _describe(DatabaseFailed(CLOSED), small_disk)

    assert (
        said
        == f"There is no room for the restore in {small_disk}; free some, and run the same command again."
    )


def test_what_else_is_wrong_is_said_also_where_the_disk_is_full(small_disk: Path) -> None:
    assert _describe(NoBackup("It was cut or changed."), small_disk) == "It was cut or changed."


def test_a_server_that_ended_for_another_reason_says_what_it_said(tmp_path: Path) -> None:
    assert _describe(DatabaseFailed(CLOSED), tmp_path) == CLOSED


@override_settings(DATABASE_URL="postgresql://database.example.com/driftline")
def test_an_external_server_without_room_says_so_itself(tmp_path: Path) -> None:
    full = "pg_restore failed: could not extend file: No space left on device"

    assert _describe(DatabaseFailed(full), tmp_path) == full


def lead_out(folder: Path) -> None:
    with tarfile.open(folder / "files.tar", "w") as archive:
        archive.add(folder / "database.dump", "../outside")


def write_no_archive(folder: Path) -> None:
    (folder / "keys.tar").write_bytes(b"no archive")


def write_no_dump(folder: Path) -> None:
    (folder / "database.dump").write_bytes(b"no dump")


@pytest.mark.parametrize("tamper", [lead_out, write_no_archive, write_no_dump])
@override_settings(DATABASE_URL="")
def test_a_backup_whose_checksums_were_made_anew_is_refused_before_the_home_is_touched(
    tmp_path: Path, settings: Any, tamper: Any
) -> None:
    settings.HOME, folder = tmp_path / "home", tmp_path / "backup"
    for made in (settings.HOME, folder):
        made.mkdir()
    (folder / "database.dump").touch()
    for name in ("files.tar", "keys.tar"):
        tarfile.open(folder / name, "w").close()
    tamper(folder)
    parts = {path.name: part_of(path) for path in folder.iterdir()}
    manifest = BackupManifest(
        format=FORMAT, moment=now().isoformat(), server_version=180_000, migrations={}, rows={}, parts=parts,
        keys_are_apart=False,
    )  # fmt: skip
    write_manifest(folder, manifest)

    with pytest.raises(NotRestored) as refused:
        restore_backup(folder, None, replace=False, now=now(), say=lambda text: None)

    assert "cannot be" in str(refused.value)
    assert list(settings.HOME.iterdir()) == []
