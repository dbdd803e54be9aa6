"""How large the archive of the write-ahead log is, how fast it grows, and when its disk is full."""

import gzip
import shutil
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from driftline.base.accounts.models import User
from driftline.operations.capacity.figures import read_capacity
from driftline.operations.capacity.log_archive import read_log_archive, record_log_archive
from driftline.operations.capacity.wording import describe_disk, describe_log_archive
from driftline.operations.services.paths import HomePaths
from driftline.operations.services.wal_archive import log_name
from driftline.operations.services.wal_segment import ARTIFACTS, name_log
from driftline.tasks import tidy
from tests.embedded import make_home

pytestmark = pytest.mark.django_db

MIB = 1 << 20
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    (folder / ARTIFACTS).mkdir(parents=True)
    return folder


@pytest.fixture
def home(tmp_path: Path, archive: Path, settings: Any) -> HomePaths:
    """The home of an installation that archives the log of its own server."""
    paths = make_home(tmp_path / "home")
    paths.postgres_data.mkdir()
    name_log(paths.postgres_data, archive)
    settings.HOME, settings.DATABASE_URL, settings.WAL_ARCHIVE = paths.home, "", archive
    return paths


@pytest.fixture
def log(archive: Path, home: HomePaths) -> Path:
    folder = archive / log_name(home)
    folder.mkdir()
    return folder


def write_segment(log: Path, number: int, *, hours_before_noon: float, mib: int = 1) -> None:
    """Write a segment that is about so many MiB long in the archive."""
    written_at = NOON - timedelta(hours=hours_before_noon)
    path = log / f"{number:024X}.gz"
    with gzip.GzipFile(path, "wb", compresslevel=0, mtime=written_at.timestamp()) as file:
        file.write(bytes(mib * MIB))


def described() -> str:
    record_log_archive(NOON)
    return describe_log_archive(read_log_archive())


def said_by_doctor() -> str:
    output = StringIO()
    call_command("doctor", "--capacity", stdout=output)
    return output.getvalue()


def said_by_the_first_page() -> dict[str, str]:
    client = Client()
    client.force_login(User.objects.create_superuser("operator@bank.example", "a long password"))
    return {line.what: line.says for line in client.get(reverse("admin:index")).context["lines"]}


class TestSize:
    def test_is_that_of_all_logs_and_models(self, archive: Path, log: Path) -> None:
        (earlier := archive / "20261101T000000Z-00000000").mkdir()
        write_segment(earlier, 1, hours_before_noon=700, mib=3)
        write_segment(log, 1, hours_before_noon=0)
        (archive / ARTIFACTS / "model.onnx").write_bytes(bytes(2 * MIB))

        assert described().startswith("6.0 MB at 2026-11-30 12:00 UTC; ")

    def test_is_not_that_of_a_folder_whose_disk_is_not_mounted(self, archive: Path, log: Path) -> None:
        shutil.rmtree(archive)
        archive.mkdir()

        assert described() == "not known: the hourly measurement was not made yet, or the archive was away"

    def test_is_not_that_of_the_archive_of_before(self, archive: Path, log: Path, settings: Any) -> None:
        record_log_archive(NOON)

        settings.WAL_ARCHIVE = archive.with_name("another")

        assert read_log_archive() is None


class TestGrowth:
    def test_is_what_was_archived_between_the_first_and_the_last_segment(self, log: Path) -> None:
        write_segment(log, 1, hours_before_noon=8, mib=5)  # of hours before that
        write_segment(log, 2, hours_before_noon=4)
        write_segment(log, 3, hours_before_noon=0)

        assert "; 6.0 MB of log a day, over 8 hours of it; " in described()

    @pytest.mark.slow
    def test_is_that_of_the_last_week(self, log: Path) -> None:
        write_segment(log, 1, hours_before_noon=30 * 24)
        write_segment(log, 2, hours_before_noon=8 * 24, mib=50)
        write_segment(log, 3, hours_before_noon=6 * 24)
        write_segment(log, 4, hours_before_noon=3 * 24, mib=12)

        assert "; 4.0 MB of log a day, over 3 days of it; " in described()

    def test_counts_segments_by_when_they_were_written_not_when_they_were_archived(self, log: Path) -> None:
        """As after days in which the archive was away: all of them are archived within minutes."""
        for number, hours in enumerate((48, 24, 0)):
            write_segment(log, number, hours_before_noon=hours)

        assert "; 1.0 MB of log a day, over 2 days of it; " in described()

    @pytest.mark.parametrize("hours", [[], [0], [0.9, 0.5, 0]], ids=["none", "one", "less than an hour"])
    def test_is_not_known_before_there_is_an_hour_of_log(self, log: Path, hours: list[float]) -> None:
        for number, before in enumerate(hours):
            write_segment(log, number, hours_before_noon=before)

        assert (
            "not known yet, as less than an hour of it is there; manage.py expire_wal makes room"
            in described()
        )

    def test_of_an_earlier_log_is_not_taken_for_it(self, archive: Path, log: Path) -> None:
        (earlier := archive / "20261101T000000Z-00000000").mkdir()
        for number in range(5):
            write_segment(earlier, number, hours_before_noon=50 - 10 * number)

        assert "not known yet" in described()


class TestDisk:
    def test_loses_what_log_is_archived_a_day(self, log: Path) -> None:
        write_segment(log, 1, hours_before_noon=24)
        write_segment(log, 2, hours_before_noon=0, mib=2)
        record_log_archive(NOON)

        *_, disk = read_capacity(NOON).disks

        assert (disk.holds, disk.folder) == ("log archive", log.parent)
        assert 0 < disk.free < disk.total
        assert disk.lost_a_day == pytest.approx(2 * MIB, rel=0.01)
        assert f"disk of log archive: {describe_disk(disk)}" in said_by_doctor()


class TestWhereItIsSaid:
    @pytest.mark.slow
    def test_is_the_command_and_the_page_once_the_hourly_tick_has_measured_it(self, log: Path) -> None:
        before = said_by_doctor()

        tidy()
        page = said_by_the_first_page()

        assert "log archive: not known: " in before
        assert "disk of log archive" not in before
        assert "manage.py expire_wal makes room" in said_by_doctor()
        assert page["Log archive"].startswith("0 bytes at ")
        assert page["Disk of log archive"].endswith("how fast it fills is not known yet")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "setting", [{"WAL_ARCHIVE": None}, {"DATABASE_URL": "postgres://db.example/driftline"}]
    )
    def test_is_nowhere_without_an_archive_of_our_own_server(
        self, log: Path, settings: Any, setting: dict[str, Any]
    ) -> None:
        for name, value in setting.items():
            setattr(settings, name, value)

        tidy()

        assert "archive" not in said_by_doctor()
        assert not {"Log archive", "Disk of log archive"} & set(said_by_the_first_page())
