"""What a restore says where it fails, and whose backups it trusts."""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from driftline.base.clock import now
from driftline.operations.backup.database import DatabaseFailed
from driftline.operations.backup.manifest import FORMAT, BackupManifest, NoBackup, part_of, write_manifest
from driftline.operations.backup.restoring import NotRestored, _describe, restore_backup
from driftline.operations.backup.signature import KEYS_BESIDE, check_signature, sign_manifest
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


@pytest.fixture
def backup(tmp_path: Path, settings: Any) -> Path:
    """A backup with empty archives, and an empty home."""
    settings.HOME, settings.DATABASE_URL, folder = tmp_path / "home", "", tmp_path / "backup"
    for made in (settings.HOME, folder):
        made.mkdir()
    (folder / "database.dump").touch()
    for name in ("files.tar", "keys.tar"):
        tarfile.open(folder / name, "w").close()
    describe(folder)
    return folder


def describe(folder: Path) -> None:
    """Write the manifest of what the folder holds, signed with the secret key of this process."""
    parts = {path.name: part_of(path) for path in folder.iterdir() if not path.name.startswith("manifest")}
    manifest = BackupManifest(
        format=FORMAT, moment=now().isoformat(), server_version=180_000, migrations={}, rows={}, parts=parts,
        keys_are_apart=False,
    )  # fmt: skip
    write_manifest(folder, manifest)
    sign_manifest(folder)


def refusal(folder: Path, *, keys: Path | None = None, trust: bool = False) -> str:
    with pytest.raises(NotRestored) as refused:
        restore_backup(folder, keys, replace=False, trust=trust, now=now(), say=lambda text: None)
    return str(refused.value)


@pytest.mark.parametrize("tamper", [lead_out, write_no_archive, write_no_dump])
def test_a_backup_whose_checksums_were_made_anew_is_refused_before_the_home_is_touched(
    backup: Path, settings: Any, tamper: Any
) -> None:
    tamper(backup)
    describe(backup)

    assert "cannot be" in refusal(backup)
    assert list(settings.HOME.iterdir()) == []


def test_a_manifest_that_somebody_else_wrote_is_refused_before_the_home_is_touched(
    backup: Path, settings: Any
) -> None:
    write_no_dump(backup)
    settings.SECRET_KEY, ours = "somebody else's", settings.SECRET_KEY
    describe(backup)
    settings.SECRET_KEY = ours

    assert "was changed, or signed by an installation with other keys" in refusal(backup)
    assert "database.dump cannot be loaded" in refusal(backup, trust=True)
    assert list(settings.HOME.iterdir()) == []


def test_a_manifest_without_its_signature_is_refused(backup: Path) -> None:
    (backup / "manifest.sig").unlink()

    assert "has no manifest.sig, so nobody knows who made it" in refusal(backup)


def test_keys_that_somebody_put_into_the_backup_do_not_replace_those_that_are_named(
    backup: Path, tmp_path: Path
) -> None:
    assert "--keys names others" in refusal(backup, keys=tmp_path / "safe")


def put_keys(archive: Path, *secrets: str) -> None:
    """Write an archive of keys with these secret keys, the newest first."""
    with tarfile.open(archive, "w") as packed:
        member = tarfile.TarInfo("keys/secret_key")
        content = "\n".join(secrets).encode()
        member.size = len(content)
        packed.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("is_apart", [True, False])
def test_the_keys_of_another_home_are_trusted_without_a_remark_where_they_were_apart(
    backup: Path, settings: Any, is_apart: bool
) -> None:
    ours = settings.SECRET_KEY
    put_keys(backup / "keys.tar", "newer", ours)
    settings.SECRET_KEY = "that of an empty home"

    remark = check_signature(backup, backup / "keys.tar", is_apart=is_apart)

    assert remark == ("" if is_apart else KEYS_BESIDE)
