"""Work is tried three times at most, and what fails blames nothing beside it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import OperationalError, transaction
from django.db.models.functions import Now

from driftline.base.work import attempts
from driftline.base.work.attempts import MAX_ATTEMPTS, work_apart
from driftline.base.work.work_rows import finish, touch
from inference.registry.models import Model
from monitors.summaries.models import StaleWindow
from tests.worlds.approvals import DAY, make_model

pytestmark = pytest.mark.django_db
FIELDS = ("model_id", "span", "start")


@pytest.fixture
def model(db: None) -> Model:
    from driftline.base.accounts.models import Project

    return make_model(Project.objects.create(slug="p", name="P"))


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "RETRY_AFTER", timedelta(0))


def touch_hours(model: Model, *hours: int) -> None:
    touch(StaleWindow, [(model.pk, "hour", DAY + timedelta(hours=hour)) for hour in hours], fields=FIELDS)


def claim() -> list[StaleWindow]:
    with transaction.atomic():
        return StaleWindow.objects.claim(limit=10)


def fail_at(hour: int) -> object:
    """Give work that fails where it comes to an hour, and finishes the rest."""

    def work(rows: Sequence[StaleWindow]) -> None:
        if any(row.start == DAY + timedelta(hours=hour) for row in rows):
            raise ValueError(f"hour {hour} is broken")
        finish(rows)

    return work


def starts() -> set[datetime]:
    return set(StaleWindow.objects.values_list("start", flat=True))


def test_a_row_that_fails_is_left_alone_with_its_reason_and_the_others_are_done(model: Model) -> None:
    touch_hours(model, 1, 2, 3)
    noted: list[str] = []

    work_apart(claim(), fail_at(2), on_failure=lambda row: noted.append(row.reason))

    [row] = StaleWindow.objects.all()
    assert row.start == DAY + timedelta(hours=2)
    assert (row.attempts, row.error) == (1, "ValueError: hour 2 is broken")
    assert noted == [row.error]


def test_it_is_tried_three_times_and_then_only_when_it_is_touched(model: Model) -> None:
    touch_hours(model, 2)
    for _ in range(MAX_ATTEMPTS):
        work_apart(claim(), fail_at(2))
    assert claim() == []
    assert StaleWindow.objects.failed().count() == 1
    assert not StaleWindow.objects.unfinished().exists()

    touch_hours(model, 2)

    [row] = claim()
    assert (row.attempts, row.error) == (1, "")


def test_a_worker_that_dies_at_it_uses_its_attempts_up_without_those_of_its_neighbours(model: Model) -> None:
    touch_hours(model, 1, 2, 3)
    claim()  # and the process is killed
    while True:
        StaleWindow.objects.update(lease_until=Now() - timedelta(seconds=1))
        rows = claim()
        if not rows:
            break
        assert len(rows) == 1
        if rows[0].start != DAY + timedelta(hours=2):
            finish(rows)

    [row] = StaleWindow.objects.failed()
    assert row.start == DAY + timedelta(hours=2)
    assert "out of memory" in row.reason


def test_a_fault_of_the_database_counts_as_no_attempt(model: Model) -> None:
    touch_hours(model, 1)

    def lose_connection(rows: Sequence[StaleWindow]) -> None:
        raise OperationalError("server closed the connection")

    with pytest.raises(OperationalError):
        work_apart(claim(), lose_connection)

    assert StaleWindow.objects.get().attempts == 0


def test_what_is_touched_while_it_fails_keeps_nothing_of_that(model: Model) -> None:
    touch_hours(model, 2)

    def touched_meanwhile(rows: Sequence[StaleWindow]) -> None:
        touch_hours(model, 2)
        raise ValueError("old rows")

    work_apart(claim(), touched_meanwhile)

    row = StaleWindow.objects.get()
    assert (row.attempts, row.error) == (0, "")
    assert starts() == {DAY + timedelta(hours=2)}


def test_a_worker_whose_time_is_over_begins_with_no_other_row(model: Model) -> None:
    touch_hours(model, 1, 2, 3)
    begun: list[int] = []

    def run_out_of_time(rows: Sequence[StaleWindow]) -> None:
        begun.append(len(rows))
        raise SoftTimeLimitExceeded

    with pytest.raises(SoftTimeLimitExceeded):
        work_apart(claim(), run_out_of_time)

    assert begun == [3]
