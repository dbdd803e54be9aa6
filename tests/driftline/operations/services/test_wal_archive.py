"""The archive of the embedded server's log: filled by a real server, read and checked before a restore."""

import contextlib
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from driftline.operations.services.paths import HomePaths
from driftline.operations.services.postgres import SUPERUSER, connect, postgres_child
from driftline.operations.services.processes import ChildNotStarted, Process
from driftline.operations.services.wal_archive import (
    LogDamaged,
    check_segments,
    log_name,
    segments_for,
    segments_of,
)
from driftline.operations.services.wal_segment import SEGMENT_BYTES
from tests.embedded import launch, make_home
from tests.waiting import wait_until

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
FIRST = "0000000100000000000000FE"
NAMES = [FIRST, "0000000100000000000000FF", "000000010000000100000000", "000000010000000100000001"]
LOG = "20261130T000000Z-00000000"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of four segments, one a minute from noon on."""
    for minute, name in enumerate(NAMES):
        write_segment(tmp_path / LOG / f"{name}.gz", at=NOON + timedelta(minutes=minute))
    return tmp_path / LOG


def write_segment(path: Path, *, at: datetime = NOON, size: int = SEGMENT_BYTES) -> None:
    path.parent.mkdir(exist_ok=True)
    with gzip.GzipFile(path, "wb", compresslevel=1, mtime=at.timestamp()) as file:
        file.write(bytes(size))


def names_for(log: Path, until: datetime | None, first: str = FIRST) -> list[str]:
    return [segment.name for segment in segments_for(log, first=first, until=until)]


class TestSegmentsOfAMoment:
    def test_are_those_that_were_written_before_it_and_the_next(self, log: Path) -> None:
        assert names_for(log, NOON + timedelta(seconds=90)) == NAMES[:3]

    def test_are_all_for_the_end_of_the_log(self, log: Path) -> None:
        assert names_for(log, None) == NAMES

    def test_begin_with_the_backups(self, log: Path) -> None:
        assert names_for(log, None, first=NAMES[2]) == NAMES[2:]

    def test_do_not_reach_beyond_the_log(self, log: Path) -> None:
        with pytest.raises(LogDamaged, match=r"ends before that; it is whole until 2026-11-30 12:03:01 UTC"):
            segments_for(log, first=FIRST, until=NOON + timedelta(hours=1))

    def test_do_not_reach_across_a_missing_one(self, log: Path) -> None:
        (log / f"{NAMES[1]}.gz").unlink()

        with pytest.raises(
            LogDamaged, match=rf"lacks segment {NAMES[1]}; it is whole until 2026-11-30 12:00:01"
        ):
            segments_for(log, first=FIRST, until=None)
        assert names_for(log, NOON) == NAMES[:1]

    def test_are_said_to_be_missing_where_nothing_follows_the_backup(self, tmp_path: Path) -> None:
        with pytest.raises(LogDamaged, match="nothing of what follows this backup"):
            segments_for(tmp_path / LOG, first=FIRST, until=None)

    def test_are_refused_when_one_is_cut(self, log: Path) -> None:
        cut = log / f"{NAMES[2]}.gz"
        cut.write_bytes(cut.read_bytes()[:-20])

        with pytest.raises(
            LogDamaged, match=rf"{NAMES[2]}.gz is cut or changed .* whole until 2026-11-30 12:01"
        ):
            check_segments(segments_for(log, first=FIRST, until=None))

    @pytest.mark.parametrize("content", [b"", gzip.compress(b"")], ids=["emptied", "of nothing"])
    def test_are_refused_when_one_is_empty(self, log: Path, content: bytes) -> None:
        (log / f"{NAMES[2]}.gz").write_bytes(content)

        with pytest.raises(LogDamaged, match=r"holds 0 bytes of 16,777,216.* whole until 2026-11-30 12:01"):
            check_segments(segments_for(log, first=FIRST, until=None))


class TestServer:
    @pytest.fixture
    def paths(self, tmp_path: Path) -> HomePaths:
        return make_home(tmp_path / "home")

    @pytest.fixture
    def archive(self, tmp_path: Path) -> Path:
        """A folder with a name that a shell, and PostgreSQL, would take for something else."""
        folder = tmp_path / "it's 100% 'safe' $HOME"
        folder.mkdir()
        return folder

    def test_archives_what_was_committed_before_it_stopped(self, paths: HomePaths, archive: Path) -> None:
        with running(paths, archive):
            execute(paths, "CREATE TABLE archived (n int)")

        log = archive / log_name(paths)
        found = segments_of(log)
        check_segments(found)
        assert names_for(log, None, first=found[0].name) == [one.name for one in found]

    def test_goes_on_while_the_archive_is_away_and_archives_the_rest_later(
        self, paths: HomePaths, archive: Path
    ) -> None:
        with running(paths, archive):
            execute(paths, "CREATE TABLE served (n int)")
            archive.rename(away := archive.with_name("away"))
            archive.mkdir()  # as of a disk that is not mounted
            execute(paths, "SELECT pg_switch_wal()")
            wait_until(lambda: failures(paths) > 0, what="a failure")

            execute(paths, "INSERT INTO served VALUES (1)")
            archive.rmdir()
            away.rename(archive)

        assert segments_of(archive / log_name(paths))

    def test_begins_another_log_after_it_ran_without_archiving(self, paths: HomePaths, archive: Path) -> None:
        """Otherwise the first would have a gap that nobody sees."""
        with running(paths, archive):
            first = log_name(paths)
        with running(paths, None):
            assert log_name(paths) == ""
        with running(paths, archive):
            assert log_name(paths) not in ("", first)

    def test_begins_another_log_in_another_archive(self, paths: HomePaths, archive: Path) -> None:
        """Otherwise either would have a part of one, and a backup from before would seem to lead on."""
        another = archive.with_name("another")
        another.mkdir()
        with running(paths, archive):
            first = log_name(paths)
        with running(paths, archive):
            assert log_name(paths) == first
        with running(paths, another):
            assert log_name(paths) != first

    def test_begins_no_log_in_an_archive_that_is_not_there(self, paths: HomePaths, archive: Path) -> None:
        archive.rmdir()

        with pytest.raises(ChildNotStarted, match="Name a folder that exists and can be written"):
            launch(postgres_child(paths, wal_archive=archive), paths)
        assert not archive.exists()

    def test_refuses_an_archive_within_the_home(self, paths: HomePaths) -> None:
        with pytest.raises(ChildNotStarted, match="name a folder on another disk"):
            launch(postgres_child(paths, wal_archive=paths.home / "archive"), paths)


@contextlib.contextmanager
def running(paths: HomePaths, archive: Path | None) -> Iterator[Process]:
    process = launch(postgres_child(paths, wal_archive=archive), paths)
    try:
        process.wait_ready()
        yield process
    finally:
        process.stop()


def execute(paths: HomePaths, statement: str) -> list[tuple[object, ...]]:
    with (
        contextlib.closing(connect(paths, user=SUPERUSER)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def failures(paths: HomePaths) -> int:
    [(count,)] = execute(paths, "SELECT failed_count::int FROM pg_stat_archiver")
    assert isinstance(count, int)
    return count
