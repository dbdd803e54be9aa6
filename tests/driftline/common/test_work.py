"""Work rows: nothing that was touched is forgotten, nothing is done twice to effect."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from driftline.accounts.models import Project
from driftline.common import work
from driftline.common.advisory_locks import AdvisoryLock
from driftline.common.work import _work_alone, finish, touch
from inference.registry.models import Model
from monitors.summaries.models import StaleWindow

pytestmark = pytest.mark.django_db(transaction=True)

FIELDS = ("model_id", "span", "start")
DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def model() -> Model:
    project = Project.objects.create(slug="p", name="P")
    return Model.objects.create(project=project, name="m", task="binary")


def touch_day(model: Model) -> None:
    touch(StaleWindow, [(model.pk, "day", DAY)], fields=FIELDS)


def claim(lease: timedelta = timedelta(seconds=60)) -> list[StaleWindow]:
    with transaction.atomic():
        return StaleWindow.objects.claim(limit=10, lease=lease)


def test_work_touched_twice_is_one_row(model: Model) -> None:
    touch_day(model)
    touch_day(model)

    assert StaleWindow.objects.count() == 1


def test_a_claimed_row_is_nobody_elses(model: Model) -> None:
    touch_day(model)

    assert len(claim()) == 1
    assert claim() == []


def test_no_more_is_claimed_than_was_asked_for_however_the_database_plans_it(model: Model) -> None:
    touch(StaleWindow, [(model.pk, "day", DAY + day * timedelta(days=1)) for day in range(3)], fields=FIELDS)

    with transaction.atomic():
        with connection.cursor() as cursor:  # what it chooses by itself where its statistics say one row
            cursor.execute("SET LOCAL enable_hashagg = off; SET LOCAL enable_hashjoin = off")
            cursor.execute("SET LOCAL enable_mergejoin = off; SET LOCAL enable_sort = off")
            cursor.execute("SET LOCAL enable_material = off")
        claimed = StaleWindow.objects.claim(limit=1)

    assert len(claimed) == 1
    assert len(claim()) == 2


def test_finished_work_is_gone(model: Model) -> None:
    touch_day(model)

    finish(claim())

    assert not StaleWindow.objects.exists()


def test_work_touched_while_it_was_done_is_due_again_at_once(model: Model) -> None:
    touch_day(model)
    claimed = claim()
    touch_day(model)

    finish(claimed)

    assert len(claim()) == 1


def test_a_worker_that_lost_its_lease_finishes_nothing(model: Model) -> None:
    touch_day(model)
    stalled = claim(lease=timedelta(seconds=-1))
    taken_over = claim()

    finish(stalled)

    assert StaleWindow.objects.count() == 1
    finish(taken_over)
    assert not StaleWindow.objects.exists()


class TestWorkAlone:
    def test_leaves_to_another_process_what_that_is_doing(self, model: Model) -> None:
        with connection.copy().cursor() as other_process:
            other_process.execute("SELECT pg_advisory_lock(7313, 2)")
            done: list[int] = []

            wait = _work_alone(AdvisoryLock.MEASURE_TASK, 2, lambda: bool(done.append(1)), lambda: True)

            assert (wait, done) == (None, [])
            other_process.connection.close()

    def test_works_through_a_backlog_and_tells_that_nothing_is_left(self, model: Model) -> None:
        backlog = [True, True, False]

        assert _work_alone(AdvisoryLock.MEASURE_TASK, 2, lambda: backlog.pop(0), lambda: False) is None
        assert backlog == []

    def test_has_what_came_meanwhile_wait_for_a_pause(self, model: Model) -> None:
        assert _work_alone(AdvisoryLock.MEASURE_TASK, 2, lambda: False, lambda: True) == work.PAUSE_SECONDS

    def test_gives_way_to_others_after_its_turn_and_is_rung_for_at_once(
        self, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(work, "TURN_SECONDS", 0.0)
        done: list[int] = []

        wait = _work_alone(AdvisoryLock.MEASURE_TASK, 2, lambda: done.append(1) is None, lambda: True)

        assert (wait, len(done)) == (0.0, 1)
        with connection.copy().cursor() as other_process:
            other_process.execute("SELECT pg_try_advisory_lock(7313, 2)")
            assert other_process.fetchone() == (True,)
            other_process.connection.close()
