"""What PostgreSQL runs to archive a file of its log, and to bring one back: run as PostgreSQL runs it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftline.services import wal_segment
from driftline.services.wal_segment import ABORT, LOG_NAME_FILE, NOT_THERE, NotArchived, new_log_name

NAME = "000000010000000000000003"
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
        return self.archive / (self.data / LOG_NAME_FILE).read_text()

    @property
    def segment(self) -> Path:
        return self.data / "pg_wal" / NAME

    def run(self, *arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-I", wal_segment.__file__, *map(str, arguments)]
        return subprocess.run(command, cwd=self.data, capture_output=True, text=True, check=False)

    def archive_segment(self) -> "subprocess.CompletedProcess[str]":
        return self.run("archive", self.archive, self.folder / "home", f"pg_wal/{NAME}", NAME)

    def restore_segment(self) -> "subprocess.CompletedProcess[str]":
        return self.run("restore", self.log, NAME, "RECOVERYXLOG")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.archive.mkdir()
    place.segment.parent.mkdir(parents=True)
    place.segment.write_bytes(SEGMENT)
    (place.data / LOG_NAME_FILE).write_text(new_log_name())
    return place


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
    assert stored.stat() == before


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
    """As where its disk is not mounted."""
    place.archive.rmdir()

    refused = place.archive_segment()

    assert refused.returncode == NOT_THERE
    assert f"{NAME} was not archived, and is tried again" in refused.stderr
    assert not place.archive.exists()


def test_before_the_databases_disk_is_full_the_log_is_given_up_and_another_begins(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = place.log
    place.archive.rmdir()
    monkeypatch.setattr(wal_segment, "GIVE_UP_BELOW_BYTES", 1 << 62)

    wal_segment.archive(place.archive, place.folder / "home", place.segment, NAME, data=place.data)

    assert place.log != ended
    assert "No moment can be restored from here until the next `manage.py backup`" in capsys.readouterr().err


def test_with_room_for_the_database_nothing_is_given_up(place: Place) -> None:
    log = place.log
    place.archive.rmdir()

    with pytest.raises(NotArchived):
        wal_segment.archive(place.archive, place.folder / "home", place.segment, NAME, data=place.data)

    assert place.log == log


def test_a_cut_segment_ends_a_recovery_and_a_missing_one_is_the_end_of_the_log(place: Place) -> None:
    missing = place.restore_segment()
    place.archive_segment()
    stored = place.log / f"{NAME}.gz"
    stored.write_bytes(stored.read_bytes()[:-100])
    cut = place.restore_segment()

    assert missing.returncode == NOT_THERE
    assert cut.returncode == ABORT
    assert f"{NAME} of {place.log} cannot be brought back" in cut.stderr
