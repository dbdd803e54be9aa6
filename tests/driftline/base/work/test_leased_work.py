"""Work that is tried a few times: who may work on it, what uses up an attempt, and how it ends."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.db import connection
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.work import leased_work
from driftline.base.work.attempts import MAX_ATTEMPTS
from driftline.base.work.lease import Lease, LeaseLost
from driftline.base.work.leased_work import AttemptFailed, WorkFailed, WorkLease, attempt, claim
from inference.registry.models import Model
from monitors.metrics.store.models import SegmentSearch
from tests.waiting import wait_until

DAY = datetime(2026, 1, 5, tzinfo=UTC)


def make_search(number: int = 0) -> SegmentSearch:
    project, _ = Project.objects.get_or_create(slug="bank", defaults={"name": "Bank"})
    model, _ = Model.objects.get_or_create(project=project, name="m", defaults={"task": "binary"})
    start = DAY + timedelta(days=number)
    return SegmentSearch.objects.create(
        model=model, start=start, end=start + timedelta(days=1), requested_by="ada"
    )


@pytest.fixture
def search(db: None) -> SegmentSearch:
    return make_search()


def end_lease() -> None:
    SegmentSearch.objects.update(lease_until=Now() - timedelta(seconds=1))


def raising(error: BaseException) -> Callable[[WorkLease[SegmentSearch]], None]:
    def work(_: WorkLease[SegmentSearch]) -> None:
        raise error

    return work


class TestClaiming:
    def test_counts_the_attempt_before_anything_is_done(self, search: SegmentSearch) -> None:
        lease = claim(SegmentSearch.objects.all())

        search.refresh_from_db()
        assert lease is not None
        assert (search.attempts, search.lease_token) == (1, lease.token)

    def test_leaves_what_another_worker_holds(self, search: SegmentSearch) -> None:
        claim(SegmentSearch.objects.all())

        assert claim(SegmentSearch.objects.all()) is None

    def test_follows_a_worker_that_died_when_its_lease_ends(self, search: SegmentSearch) -> None:
        dead = claim(SegmentSearch.objects.all())
        end_lease()

        follower = claim(SegmentSearch.objects.all())

        assert dead is not None
        assert follower is not None
        assert follower.attempts == 2
        with pytest.raises(LeaseLost):
            dead.finish("ready")

    def test_gives_up_what_killed_each_worker(self, search: SegmentSearch) -> None:
        for _ in range(MAX_ATTEMPTS):
            assert claim(SegmentSearch.objects.all()) is not None
            end_lease()

        assert claim(SegmentSearch.objects.all()) is None

        search.refresh_from_db()
        assert search.state == "failed"
        assert search.error == leased_work.WORKER_DIED
        assert SegmentSearch.objects.given_up().exists()

    @pytest.mark.django_db(transaction=True)
    def test_gives_a_row_to_one_of_two_workers_that_come_at_once(self) -> None:
        make_search()
        both = Barrier(2)

        def take() -> bool:
            both.wait()
            try:
                return claim(SegmentSearch.objects.all()) is not None
            finally:
                connection.close()

        with ThreadPoolExecutor(2) as workers:
            taken = [worker.result() for worker in [workers.submit(take) for _ in range(2)]]

        assert sorted(taken) == [False, True]


class TestEnding:
    def test_with_success_forgets_the_attempts(self, search: SegmentSearch) -> None:
        assert attempt(SegmentSearch.objects.all(), lambda lease: lease.finish("ready"))

        search.refresh_from_db()
        assert (search.state, search.attempts, search.lease_until) == ("ready", 0, None)
        assert search.finished_at is not None

    def test_with_a_mistake_of_who_asked_fails_at_once(self, search: SegmentSearch) -> None:
        attempt(SegmentSearch.objects.all(), raising(WorkFailed("The file has no rows.")))

        search.refresh_from_db()
        assert (search.state, search.attempts, search.error) == ("failed", 1, "The file has no rows.")
        assert not SegmentSearch.objects.given_up().exists()

    def test_with_an_error_is_tried_again_after_a_pause_and_then_given_up(
        self, search: SegmentSearch
    ) -> None:
        states = []
        for _ in range(MAX_ATTEMPTS):
            assert attempt(SegmentSearch.objects.all(), raising(ZeroDivisionError()))
            assert not attempt(SegmentSearch.objects.all(), raising(ZeroDivisionError()))
            search.refresh_from_db()
            states.append(search.state)
            end_lease()

        assert states == ["queued", "queued", "failed"]
        assert search.error.startswith("It failed 3 times. The last time it ended with ZeroDivisionError")

    def test_with_the_time_limit_of_a_task_is_not_tried_again(self, search: SegmentSearch) -> None:
        attempt(SegmentSearch.objects.all(), raising(SoftTimeLimitExceeded()))

        search.refresh_from_db()
        assert (search.state, search.error) == ("failed", leased_work.TOOK_TOO_LONG)

    def test_without_a_trace_where_the_reason_must_not_be_logged(
        self, search: SegmentSearch, caplog: pytest.LogCaptureFixture
    ) -> None:
        attempt(SegmentSearch.objects.all(), raising(AttemptFailed("A step broke.")))

        search.refresh_from_db()
        assert (search.state, search.error) == ("queued", "A step broke.")
        assert caplog.records[-1].exc_info is None

    def test_says_nothing_of_work_that_was_asked_for_afresh_meanwhile(self, search: SegmentSearch) -> None:
        def asked_again(lease: WorkLease[SegmentSearch]) -> None:
            SegmentSearch.objects.all().begin_again()
            lease.finish("ready")

        attempt(SegmentSearch.objects.all(), asked_again)

        search.refresh_from_db()
        assert (search.state, search.attempts, search.generation) == ("queued", 0, 2)


class TestALease:
    def test_that_is_released_leaves_the_work_to_its_next_turn(self, search: SegmentSearch) -> None:
        attempt(SegmentSearch.objects.all(), lambda lease: lease.release())

        search.refresh_from_db()
        assert (search.state, search.attempts) == ("queued", 0)
        assert SegmentSearch.objects.waiting().exists()

    def test_with_progress_begins_to_count_afresh(self, search: SegmentSearch) -> None:
        claim(SegmentSearch.objects.all())
        end_lease()
        lease = claim(SegmentSearch.objects.all())

        assert lease is not None
        lease.note_progress()

        search.refresh_from_db()
        assert search.attempts == 1

    @pytest.mark.django_db(transaction=True)
    def test_is_renewed_while_its_worker_lives_and_knows_when_it_is_lost(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Lease, "RENEWAL_SECONDS", 0.01)
        search = make_search()
        lease = claim(SegmentSearch.objects.all())
        assert lease is not None
        soon = Now() + timedelta(seconds=5)
        SegmentSearch.objects.update(lease_until=soon)

        with lease.renewed():
            wait_until(lambda: SegmentSearch.objects.filter(lease_until__gt=soon).exists())
            SegmentSearch.objects.filter(pk=search.pk).begin_again()
            wait_until(lease.lost.is_set)
