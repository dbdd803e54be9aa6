"""Work rows: nothing that was touched is forgotten, nothing is done twice to effect."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from driftline.base.accounts.models import Project
from driftline.base.work import work_rows as work
from driftline.base.work.advisory_locks import AdvisoryLock
from driftline.base.work.task_queue import Task
from driftline.base.work.work_rows import PAUSE_SECONDS, finish, touch, work_in_turns
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
    touch_days(model, 1)


def touch_days(model: Model, days: int) -> None:
    touch(
        StaleWindow, [(model.pk, "day", DAY + day * timedelta(days=1)) for day in range(days)], fields=FIELDS
    )


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
    touch_days(model, 3)

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


@contextmanager
def other_process() -> Iterator[CursorWrapper]:
    """A connection of another process."""
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            yield cursor
    finally:
        other.close()


class TestWorkInTurns:
    @pytest.fixture
    def enqueued(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Task, float]]:
        """The tasks that go to the broker, and the seconds after which they do."""
        tasks: list[tuple[Task, float]] = []
        monkeypatch.setattr(
            work, "enqueue", lambda task, *, pause_seconds, **_: tasks.append((task, pause_seconds))
        )
        return tasks

    def finish_one(self) -> bool:
        with transaction.atomic():
            claimed = StaleWindow.objects.claim(limit=1)
        finish(claimed)
        return StaleWindow.objects.due().exists()

    def measure(self, model: Model, once: Callable[[], bool]) -> None:
        due = StaleWindow.objects.filter(model=model).due()
        work_in_turns(Task.MEASURE, AdvisoryLock.MEASURE_TASK, model.pk, once, due)

    def test_leaves_to_another_process_what_that_is_doing(
        self, model: Model, enqueued: list[tuple[Task, float]]
    ) -> None:
        touch_days(model, 3)

        with other_process() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s, %s)", [int(AdvisoryLock.MEASURE_TASK), model.pk])
            self.measure(model, self.finish_one)

        assert (StaleWindow.objects.count(), enqueued) == (3, [])

    def test_works_through_a_backlog_and_enqueues_nothing(
        self, model: Model, enqueued: list[tuple[Task, float]]
    ) -> None:
        touch_days(model, 3)

        self.measure(model, self.finish_one)

        assert (StaleWindow.objects.count(), enqueued) == (0, [])

    def test_has_what_came_meanwhile_wait_for_a_pause(
        self, model: Model, enqueued: list[tuple[Task, float]]
    ) -> None:
        def finish_while_rows_come() -> bool:
            is_more = self.finish_one()
            touch_day(model)
            return is_more

        touch_day(model)

        self.measure(model, finish_while_rows_come)

        assert enqueued == [(Task.MEASURE, PAUSE_SECONDS)]

    def test_gives_way_to_others_after_its_turn_and_is_enqueued_at_once(
        self, model: Model, enqueued: list[tuple[Task, float]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(work, "TURN_SECONDS", 0.0)
        touch_days(model, 3)

        self.measure(model, self.finish_one)

        assert (StaleWindow.objects.count(), enqueued) == (2, [(Task.MEASURE, 0.0)])
        with other_process() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [int(AdvisoryLock.MEASURE_TASK), model.pk])
            assert cursor.fetchone() == (True,)
