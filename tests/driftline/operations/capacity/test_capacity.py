"""How fast rows come, how fast the database grows, and when the disks are full."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.periods import floor
from driftline.operations.capacity.figures import Disk, largest_models, read_capacity
from driftline.operations.capacity.samples import KEPT, measure_disk, record_disk
from driftline.operations.capacity.wording import describe_disk, describe_growth, describe_rows, fills_soon
from driftline.operations.models import DiskSample
from driftline.tasks import tidy
from inference.registry.models import Model
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.django_db

GIB = 1 << 30


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="bank", name="Bank"))


@pytest.fixture
def sampled() -> Callable[..., DiskSample]:
    """Stores the sizes of some days ago, as differences from the sizes of now."""

    def store(*, days: float, **less: int) -> DiskSample:
        sample = measure_disk(now() - timedelta(days=days))
        for field, difference in less.items():
            setattr(sample, field, getattr(sample, field) - difference)
        sample.save()
        return sample

    return store


def disk(*, free: int, lost_a_day: float | None) -> Disk:
    return Disk("home", Path("/srv/driftline"), free, 100 * GIB, lost_a_day)


class TestRows:
    def test_are_those_of_the_last_whole_hour_and_day_by_event_time(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 48))
        work(model)

        capacity = read_capacity(DAY + timedelta(hours=24, minutes=30))

        assert (capacity.rows_last_hour, capacity.rows_last_day) == (2, 48)
        assert describe_rows(capacity).startswith("0.000556/s in the last whole hour (2), 0.000556/s")

    def test_leave_out_the_hour_that_has_not_ended(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 48))
        work(model)

        capacity = read_capacity(DAY + timedelta(minutes=59))

        assert capacity.rows_last_day == 0


class TestGrowth:
    def test_is_not_known_before_two_measurements_lie_an_hour_apart(
        self, sampled: Callable[..., DiskSample]
    ) -> None:
        sampled(days=0.02)

        growth = read_capacity(now()).growth

        assert growth is None
        assert describe_growth(growth).startswith("not known yet")

    def test_is_what_came_between_the_oldest_measurement_of_a_week_and_now(
        self, sampled: Callable[..., DiskSample]
    ) -> None:
        sampled(days=30, database_bytes=900 * GIB)
        sampled(days=5, database_bytes=10 * GIB, log_bytes=8 * GIB, summary_bytes=-GIB)
        sampled(days=1)

        growth = read_capacity(now()).growth

        assert growth is not None
        assert round(growth.database / GIB, 3) == 2
        assert describe_growth(growth) == (
            "+2.0 GB a day: the log +1.6 GB, summaries and points -204.8 MB; over the last 5 days"
        )

    def test_is_noted_by_the_hourly_tick_and_forgotten_when_it_is_old(
        self, settings: Any, tmp_path: Path
    ) -> None:
        settings.HOME = tmp_path
        old = measure_disk(now() - KEPT - timedelta(hours=1))
        old.save()

        tidy()

        [sample] = DiskSample.objects.all()
        assert sample.pk != old.pk
        assert sample.database_bytes > sample.log_bytes > 0


class TestDisk:
    @pytest.mark.parametrize(
        ("lost_a_day", "says"),
        [
            (2.0 * GIB, "2.0 GB less a day, full in 20 days"),
            (40.0 * GIB, "40.0 GB less a day, full in 24 hours"),
            (0.0, "not filling"),
            (-1.0 * GIB, "not filling"),
            (float(1 << 20), "not filling within 10 years"),
            (None, "how fast it fills is not known yet"),
        ],
    )
    def test_says_when_it_is_full(self, lost_a_day: float | None, says: str) -> None:
        assert describe_disk(disk(free=40 * GIB, lost_a_day=lost_a_day)) == (
            f"40.0 GB of 100.0 GB free at /srv/driftline; {says}"
        )

    def test_needs_somebody_two_weeks_before(self) -> None:
        near, far = disk(free=20 * GIB, lost_a_day=2.0 * GIB), disk(free=40 * GIB, lost_a_day=2.0 * GIB)

        assert (fills_soon(near), fills_soon(far)) == (True, False)

    def test_of_an_external_database_is_not_guessed(self, settings: Any, tmp_path: Path) -> None:
        settings.HOME, settings.DATABASE_URL = tmp_path, "postgres://db.example/driftline"
        output = StringIO()

        call_command("doctor", "--capacity", stdout=output)

        assert "disk of home: " in output.getvalue()
        assert "disk of database: the server is external" in output.getvalue()

    def test_of_our_own_database_is_that_of_its_folder(self, settings: Any, tmp_path: Path) -> None:
        settings.HOME, settings.DATABASE_URL = tmp_path, ""
        (tmp_path / "postgres").mkdir()
        record_disk(now() - timedelta(hours=3))

        [both] = read_capacity(now()).disks

        assert (both.holds, both.folder) == ("home and database", tmp_path)
        assert both.lost_a_day is not None


class TestLargestModels:
    @pytest.mark.slow
    def test_come_first_with_the_bytes_of_their_log_and_summaries(self, model: Model) -> None:
        today = floor(now(), "day")
        small = make_model(model.project, "small")
        log(model, rows_of_a_day(today - timedelta(days=1), 400))
        log(small, rows_of_a_day(today - timedelta(days=1), 24))
        work(model)

        first, second = largest_models(today)

        assert (first.name, first.rows, first.rows_last_day) == (model.name, 400, 400)
        assert (second.name, second.rows, second.rows_last_day) == ("small", 24, 0)
        assert first.summary_bytes > 0
        assert first.bytes > second.bytes == second.log_bytes

    def test_are_named_by_the_doctor(self, model: Model) -> None:
        log(model, rows_of_a_day(DAY, 30))
        output = StringIO()

        call_command("doctor", "--capacity", stdout=output)

        assert "model bank/approvals: " in output.getvalue()
        assert "; 30 rows, 0 in the last 24 hours" in output.getvalue()


def test_a_database_without_its_tables_is_explained() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE monitors_summary CASCADE")

    with pytest.raises(CommandError, match=r"cannot be measured: .*does not exist\. manage\.py doctor says"):
        call_command("doctor", "--capacity")
