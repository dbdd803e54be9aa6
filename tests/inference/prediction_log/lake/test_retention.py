"""Retention waits until a day is in the lake, and leaves its file behind."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from inference.prediction_log.ingest import arrival
from inference.prediction_log.lake import parts
from inference.prediction_log.lake.models import Lake, LakeFile
from inference.prediction_log.lake.services import stop_lake
from inference.prediction_log.lake.writing import write_lake_file
from inference.prediction_log.models import PredictionChunk
from inference.prediction_log.retention.expiry import find_expired
from inference.prediction_log.storage import partitions
from inference.prediction_log.tasks import expire
from inference.registry.models import Model
from inference.registry.services import update_model
from tests.inference.prediction_log.lake.conftest import let_time_pass, write_due
from tests.inference.prediction_log.lake.reading import ids, names, query
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

LAST = DAY + timedelta(days=40)


@pytest.fixture
def old_day(model: Model, lake: Lake) -> Model:
    """A model with a day that it does not keep any more."""
    log_days(model, DAY, LAST)
    update_model(model=model, actor="test", retention_days=7)
    return model


def log_days(model: Model, *days: datetime) -> None:
    for day in days:
        log(model, rows_of_a_day(day, 5))
        work(model)
    grow_old()
    pack_all()
    connection.check_constraints()  # as a commit does


def days_of(model: Model) -> list[datetime]:
    days = set(PredictionChunk.objects.filter(model=model).values_list("day", flat=True))
    return [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in sorted(days)]


def test_a_day_that_is_not_in_the_lake_stays_and_is_written_next(old_day: Model) -> None:
    LakeFile.objects.update(due_at=LAST + timedelta(days=4_000))

    expire()

    assert days_of(old_day) == [DAY, LAST]
    assert write_due() == [f"model=approvals/date=2026-01-05/part-{old_day.pk}-0.parquet"]


def test_a_dry_run_has_nothing_written_sooner(old_day: Model) -> None:
    LakeFile.objects.update(due_at=LAST + timedelta(days=4_000))
    shown = StringIO()

    call_command("expire_log", "--dry-run", stdout=shown)

    assert write_due() == []
    assert "0 rows of 0 days" in shown.getvalue()


def test_a_day_that_is_in_the_lake_leaves_the_log_and_its_file_stays(old_day: Model, folder: Path) -> None:
    let_time_pass()
    write_due()

    expire()

    assert days_of(old_day) == [LAST]
    assert len(ids(folder)) == 10


def test_an_unreachable_lake_keeps_the_rows(old_day: Model, folder: Path, lake: Lake) -> None:
    folder.rmdir()
    let_time_pass()
    write_due()

    expire()

    lake.refresh_from_db()
    assert days_of(old_day) == [DAY, LAST]
    assert lake.error


def test_a_label_that_came_after_the_writing_keeps_the_day_until_it_is_in_the_lake_too(
    old_day: Model, folder: Path
) -> None:
    let_time_pass()
    write_due()
    label(old_day, truths(rows_of_a_day(DAY, 5)))
    work(old_day)

    expire()
    assert days_of(old_day) == [DAY, LAST]

    write_due()  # at once, though labels are gathered for a day otherwise
    connection.check_constraints()
    expire()
    assert days_of(old_day) == [LAST]


def test_a_label_that_the_summaries_do_not_count_yet_keeps_the_day(old_day: Model, folder: Path) -> None:
    let_time_pass()
    write_due()
    label(old_day, truths(rows_of_a_day(DAY, 5)))

    expire()
    assert days_of(old_day) == [DAY, LAST]

    work(old_day)
    expire()  # has the day written at once
    write_due()
    connection.check_constraints()
    expire()
    assert days_of(old_day) == [LAST]
    assert query(folder, "SELECT count(label) FROM lake WHERE date = DATE '2026-01-05'") == [(5,)]


def test_a_row_that_the_summaries_do_not_count_yet_keeps_the_day(old_day: Model) -> None:
    let_time_pass()
    write_due()
    update_model(model=old_day, actor="test", retention_days=0)
    log(old_day, rows_of_a_day(DAY, 6)[5:])
    update_model(model=old_day, actor="test", retention_days=7)

    expire()

    assert days_of(old_day) == [DAY, LAST]


def test_rows_that_come_after_a_day_left_lie_in_a_file_of_their_own(old_day: Model, folder: Path) -> None:
    let_time_pass()
    write_due()
    expire()
    update_model(model=old_day, actor="test", retention_days=0)

    log_days_again(old_day)
    let_time_pass()
    write_due()

    of_day = [name.rpartition("/")[2] for name in names(folder) if "2026-01-05" in name]
    assert of_day == [f"part-{old_day.pk}-0.parquet", f"part-{old_day.pk}-1.parquet"]
    assert sorted(set(ids(folder))) == ids(folder)
    assert len(ids(folder)) == 11


def test_a_day_of_which_some_rows_still_have_narrow_rows_stays_as_a_whole(
    old_day: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    update_model(model=old_day, actor="test", retention_days=0)
    monkeypatch.setattr(arrival, "_clock", "clock_timestamp()")
    log_days_again(old_day)
    grow_old()
    pack_all()
    let_time_pass()
    write_due()
    update_model(model=old_day, actor="test", retention_days=7)

    expire()

    assert days_of(old_day) == [DAY, LAST]
    assert sum(PredictionChunk.objects.filter(day=DAY.date()).values_list("rows", flat=True)) == 6


def test_a_day_in_several_files_stays_until_all_of_them_are_in_the_lake(
    old_day: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MAX_FILE_BYTES", 1_000)
    let_time_pass()
    first = LakeFile.objects.get(day=DAY.date())
    write_lake_file(first.pk)
    first.refresh_from_db()
    assert (first.state, first.rows < 5) == ("done", True)

    expire()
    assert days_of(old_day) == [DAY, LAST]

    write_due()
    expire()
    assert days_of(old_day) == [LAST]
    assert len(ids(folder)) == 10


def test_the_lake_is_asked_once_for_all_days(old_day: Model, django_assert_num_queries: Any) -> None:
    with CaptureQueriesContext(connection) as of_one_day:
        assert len(list(find_expired(now(), without=partitions.WEEKS.starts()))) == 1
    update_model(model=old_day, actor="test", retention_days=0)
    log_days(old_day, *(DAY + timedelta(days=day) for day in range(1, 5)))
    update_model(model=old_day, actor="test", retention_days=7)

    with django_assert_num_queries(len(of_one_day)):
        assert len(list(find_expired(now(), without=partitions.WEEKS.starts()))) == 5


def log_days_again(model: Model) -> None:
    log(model, rows_of_a_day(DAY, 6)[5:])
    work(model)


def test_another_models_day_waits_for_nothing(project: Project, old_day: Model, lake: Lake) -> None:
    elsewhere = make_model(Project.objects.create(slug="q", name="Q"))
    log_days(elsewhere, DAY, LAST)
    update_model(model=elsewhere, actor="test", retention_days=7)

    expire()

    assert (days_of(elsewhere), days_of(old_day)) == ([LAST], [DAY, LAST])


def test_retention_goes_on_without_the_lake_once_it_is_stopped(
    old_day: Model, lake: Lake, folder: Path
) -> None:
    stop_lake(lake=lake, confirm=str(folder), actor="ada")

    expire()

    assert days_of(old_day) == [LAST]


def test_rows_that_a_model_keeps_no_longer_leave_their_file_as_it_is(old_day: Model, folder: Path) -> None:
    let_time_pass()
    write_due()

    update_model(model=old_day, actor="test", rows_kept="none")
    work(old_day)
    let_time_pass()
    write_due()

    assert days_of(old_day) == []
    assert len(ids(folder)) == 10
