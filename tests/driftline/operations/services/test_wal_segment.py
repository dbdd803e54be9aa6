"""What PostgreSQL runs to archive a file of its log, and to bring one back: run as PostgreSQL runs it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from driftline.operations.services import wal_segment
from driftline.operations.services.wal_segment import (
    ABORT,
    ARTIFACTS,
    NOT_THERE,
    NotArchived,
    name_log,
    read_log,
)

NAME = "000000010000000000000003"
BEFORE, AFTER = "000000010000000000000002", "000000010000000000000004"
SEGMENT = bytes(range(256)) * 4096


@dataclass(frozen=True)
class Place:
    """A home with a server's data folder, and an archive."""

    folder: Path

    @property
    def archive(self) -> Path:
        return self.folder / "the archive"

    @property
    def data(self) -> Path:
        return self.folder / "home/postgres"

    @property
    def log(self) -> Path:
        return self.archive / read_log(self.data)[0]

    @property
    def segment(self) -> Path:
        return self.data / "pg_wal" / NAME

    def run(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-I", wal_segment.__file__, *map(str, arguments)]
        return subprocess.run(command, cwd=self.data, capture_output=True, text=True, check=False)

    def archive_segment(self) -> "subprocess.CompletedProcess[str]":
        return self.run("archive", self.archive, self.folder / "home", f"pg_wal/{NAME}", NAME)

    def archive_here(self) -> None:
        """Archive it in this process, where the disk can be another."""
        wal_segment.archive(self.archive, self.folder / "home", self.segment, NAME, data=self.data)

    def restore_segment(self, *, last: str = NAME, name: str = NAME) -> "subprocess.CompletedProcess[str]":
        return self.run("restore", self.log, last, name, "RECOVERYXLOG")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    (place.archive / ARTIFACTS).mkdir(parents=True)
    status = place.segment.parent / "archive_status"
    status.mkdir(parents=True)
    (status / f"{NAME}.ready").touch()
    place.segment.write_bytes(SEGMENT)
    name_log(place.data, place.archive)
    return place


@pytest.fixture
def free_bytes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have the disk of the database be as full as a test says."""

    def set_free(free: int) -> None:
        found = shutil.disk_usage("/")._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: found)

    return set_free


def test_a_segment_comes_back_as_it_was(place: Place) -> None:
    archived = place.archive_segment()
    restored = place.restore_segment()

    assert (archived.returncode, restored.returncode) == (0, 0), archived.stderr + restored.stderr
    assert (place.data / "RECOVERYXLOG").read_bytes() == SEGMENT


def test_only_the_owner_can_read_what_is_archived(place: Place) -> None:
    place.archive_segment()

    [stored] = place.log.iterdir()
    assert (place.log.stat().st_mode & 0o777, stored.stat().st_mode & 0o777) == (0o700, 0o600)


def test_the_same_segment_again_changes_nothing(place: Place) -> None:
    """PostgreSQL asks twice where it was killed before it noted the first."""
    place.archive_segment()
    [stored] = place.log.iterdir()
    before = stored.stat()

    again = place.archive_segment()

    assert again.returncode == 0
    after = stored.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_segment_of_the_same_name_is_refused_and_the_first_kept(place: Place) -> None:
    place.archive_segment()
    place.segment.write_bytes(SEGMENT[::-1])

    refused = place.archive_segment()
    place.restore_segment()

    assert refused.returncode == NOT_THERE
    assert "holds something else" in refused.stderr
    assert (place.data / "RECOVERYXLOG").read_bytes() == SEGMENT


def test_models_are_archived_before_the_rows_that_name_them(place: Place) -> None:
    model = place.folder / "home/artifacts/ab/abcd.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"a model")

    archived = place.archive_segment()

    assert archived.returncode == 0, archived.stderr
    assert (place.archive / "artifacts/ab/abcd.onnx").read_bytes() == b"a model"


def test_an_archive_that_is_not_there_is_not_made_elsewhere(place: Place) -> None:
    """As where its disk is not mounted: the empty folder is the one on which it would be."""
    (place.archive / ARTIFACTS).rmdir()

    refused = place.archive_segment()

    assert refused.returncode == NOT_THERE
    assert f"{NAME} was not archived, and is tried again" in refused.stderr
    assert "as if its disk were not mounted" in refused.stderr
    assert not any(place.archive.iterdir())


def test_a_segment_that_another_archiver_stored_meanwhile_is_not_replaced(place: Place) -> None:
    """As where PostgreSQL was killed and started anew while its archiver still ran."""

    def compress_late(file: BinaryIO) -> None:
        file.write(b"the second")
        (place.log / "segment").write_bytes(b"the first")

    place.log.mkdir()
    with pytest.raises(FileExistsError):
        wal_segment._write(place.log / "segment", compress_late)

    assert {path.name: path.read_bytes() for path in place.log.iterdir()} == {"segment": b"the first"}


def test_the_names_of_new_folders_are_on_the_disk_too_and_that_of_a_segment_that_is_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = place.folder / "home/artifacts/ab/abcd.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"a model")
    synced: list[Path] = []
    really = wal_segment._sync

    def sync(folder: Path) -> None:
        really(folder)
        synced.append(folder)

    monkeypatch.setattr(wal_segment, "_sync", sync)

    place.archive_here()
    assert {place.archive, place.archive / ARTIFACTS, place.archive / "artifacts/ab", place.log} <= set(
        synced
    )

    synced.clear()
    place.archive_here()
    assert place.log in synced


def test_before_the_databases_disk_is_full_the_log_is_given_up_and_another_begins(
    place: Place, free_bytes: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    ended = place.log
    (place.archive / ARTIFACTS).rmdir()
    free_bytes(1 << 20)

    place.archive_here()

    assert place.log != ended
    assert read_log(place.data)[1] == str(place.archive)
    assert "No moment can be restored from here until the next `manage.py backup`" in capsys.readouterr().err


@pytest.mark.parametrize("free", [2 << 30, 500 << 20], ids=["much room", "a small disk"])
def test_with_room_for_what_waits_nothing_is_given_up(
    place: Place, free_bytes: Callable[[int], None], free: int
) -> None:
    log = place.log
    (place.archive / ARTIFACTS).rmdir()
    free_bytes(free)

    with pytest.raises(NotArchived):
        place.archive_here()

    assert place.log == log


@pytest.mark.parametrize("name", [AFTER, "00000002.history", "00000001.history"])
def test_what_was_never_in_the_log_is_its_end(place: Place, name: str) -> None:
    place.archive_segment()

    assert place.restore_segment(name=name).returncode == NOT_THERE


@pytest.mark.parametrize("name", [BEFORE, NAME])
def test_a_segment_that_was_there_when_the_restore_began_ends_a_recovery_where_it_is_missing(
    place: Place, name: str
) -> None:
    """As where the archive's disk goes away meanwhile: PostgreSQL would take it for the end of the log."""
    missing = place.restore_segment(name=name)

    assert missing.returncode == ABORT
    assert f"{name} of {place.log} cannot be brought back" in missing.stderr


def test_a_cut_segment_ends_a_recovery(place: Place) -> None:
    place.archive_segment()
    stored = place.log / f"{NAME}.gz"
    stored.write_bytes(stored.read_bytes()[:-100])
    cut = place.restore_segment(last=BEFORE)

    assert cut.returncode == ABORT
    assert f"{NAME} of {place.log} cannot be brought back" in cut.stderr
