"""A backup and an erasure at the same time: one waits for the other, and says which."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.work.advisory_locks import AdvisoryLock
from driftline.base.work.lease import LEASE
from driftline.operations.backup import erasures
from driftline.operations.backup.erasures import ErasureAtWork, paused_erasures
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.services import request_erasure, resume_erasure

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

LOCK = int(AdvisoryLock.BACKUP_MOMENT)


@pytest.fixture
def erasure() -> Erasure:
    project = Project.objects.create(slug="bank", name="Bank")
    return request_erasure(project=project, key="ann@example.com", actor="test")


@pytest.fixture
def worker(erasure: Erasure) -> Iterator[CursorWrapper]:
    """The session of a worker that is at the erasure."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_lock_shared({LOCK})")
        Erasure.objects.update(lease_until=Now() + LEASE, lease_token=1)
        yield cursor
    other.close()


def resume_elsewhere(erasure: Erasure) -> bool:
    """Resume the erasure by a worker with a connection of its own, and return whether it did something."""

    def resume() -> bool:
        try:
            return resume_erasure(erasure.pk)
        finally:
            connection.close()

    with ThreadPoolExecutor() as workers:
        return workers.submit(resume).result()


def test_a_worker_leaves_an_erasure_alone_while_the_moment_is_fixed(erasure: Erasure) -> None:
    with paused_erasures(print):
        assert not resume_elsewhere(erasure)

        erasure.refresh_from_db()
        assert erasure.state == Erasure.State.WAITING
        assert erasure.waiting_for == "a backup that is being made"
        assert erasure.progress == {}

    assert resume_elsewhere(erasure)


def test_one_that_waits_for_something_does_not_hold_a_backup_back(erasure: Erasure) -> None:
    Erasure.objects.update(state=Erasure.State.WAITING, waiting_for="the drain")
    said: list[str] = []

    with paused_erasures(said.append):
        pass

    assert said == []


def test_one_that_a_worker_is_at_is_waited_for(erasure: Erasure, worker: CursorWrapper) -> None:
    said: list[str] = []

    def pause(line: str) -> None:
        said.append(line)
        Erasure.objects.update(lease_until=None, lease_token=None)
        worker.execute(f"SELECT pg_advisory_unlock_shared({LOCK})")

    with paused_erasures(pause):
        worker.execute(f"SELECT pg_try_advisory_lock_shared({LOCK})")

        assert worker.fetchone() == (False,)
    assert said == [f"Waiting until erasure {erasure.pk} of project Bank can pause, 5 minutes at most ..."]


@pytest.mark.usefixtures("worker")
def test_one_that_does_not_pause_is_named(erasure: Erasure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures, "MAX_WAIT_SECONDS", 0.1)
    said: list[str] = []

    with (
        pytest.raises(ErasureAtWork, match=f"^erasure {erasure.pk} of project Bank did not pause"),
        paused_erasures(said.append),
    ):
        said.append("fixed")

    assert "fixed" not in said


def test_one_of_an_earlier_release_that_went_on_meanwhile_is_named(erasure: Erasure) -> None:
    with (
        pytest.raises(ErasureAtWork, match=f"^erasure {erasure.pk} of project Bank went on meanwhile"),
        paused_erasures(print),
    ):
        Erasure.objects.update(state=Erasure.State.DONE, finished_at=Now())
