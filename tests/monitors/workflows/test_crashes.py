"""A worker that is killed or stalls delays a run and never doubles what it does."""

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import F

from driftline.base.work.lease import LeaseLost
from inference.registry.models import Dataset, Deployment, DeploymentChange
from monitors.alerts.models import Channel, Delivery
from monitors.feed.kinds import KINDS
from monitors.workflows import engine, services
from monitors.workflows.context import RunContext, StepAnswer, StepOutcome, run_folder
from monitors.workflows.engine import advance
from monitors.workflows.leases import RunLease, claim_run
from monitors.workflows.models import Run, Step
from monitors.workflows.starting import starts
from tests.monitors.workflows.conftest import Fire
from tests.monitors.workflows.worker import die_at, let_lease_run_out, worker
from tests.waiting import wait_until
from tests.worlds.turning_flights import World

pytestmark = pytest.mark.e2e

EACH_ONCE = {"run.started": 1, "run.promoted": 1, "version.created": 1, "deployment.changed": 2}
"""The deployment starts the shadow, and lets the challenger answer, which ends it."""


def messages_by_event() -> dict[str, int]:
    """Count the messages to a channel that takes everything since the run began."""
    return dict(Counter(Delivery.objects.values_list("event", flat=True)))


@pytest.fixture
def run(turned_world: World, fire: Fire) -> Run:
    project = turned_world.model.project
    Channel.objects.create(
        project=project, kind="email", name="all", target="a@example.com", events=list(KINDS)
    )
    run = starts.handle_transition(fire().pk)
    assert run is not None
    return run


def trainer_of(run: Run) -> int | None:
    """The process id of the trainer that works in the run's folder, if one does."""
    folder = str(run_folder(run.pk))
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd").startswith(folder):
                return int(entry.name)
        except OSError:
            continue
    return None


@pytest.mark.slow
@pytest.mark.chaos
class TestKilledWorker:
    def test_leaves_a_run_that_the_next_worker_finishes_with_one_version(
        self, run: Run, turned_world: World
    ) -> None:
        with worker(run) as process:
            wait_until(lambda: trainer_of(run))
            process.send_signal(signal.SIGKILL)
            process.wait()
        wait_until(lambda: trainer_of(run) is None)
        assert run.model.versions.count() == 1
        advance(run_id=run.pk)
        assert run.steps.get(name="train").state == Step.State.RUNNING, "the lease still holds"
        let_lease_run_out(run)

        advance(run_id=run.pk)

        assert run.steps.get(name="train").attempts == 2
        assert run.model.versions.count() == 2
        for day in (11, 12):
            turned_world.send_day(day)
        advance(run_id=run.pk)
        run.refresh_from_db()
        assert run.state == "promoted"
        assert run.model.versions.count() == 2
        assert DeploymentChange.objects.filter(model=run.model, kind="promote").count() == 1
        assert messages_by_event() == EACH_ONCE

    @pytest.mark.parametrize("name", ["snapshot", "register", "shadow"])
    def test_killed_right_before_a_step_is_recorded_does_it_again_once(self, run: Run, name: str) -> None:
        die_at(name, run)

        advance(run_id=run.pk)

        run.refresh_from_db()
        assert run.state == "waiting"
        assert run.steps.get(name=name).attempts == (
            1 if name == "shadow" else 2
        )  # a step that waits counts anew
        assert run.model.versions.count() == 2
        assert Dataset.objects.filter(kind="snapshot").count() == 1
        assert DeploymentChange.objects.filter(model=run.model, kind="shadows").count() == 1

    @pytest.mark.parametrize("name", ["gate", "promote"])
    def test_killed_inside_the_last_transactions_promotes_once(
        self, run: Run, turned_world: World, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        advance(run_id=run.pk)
        for day in (11, 12):
            turned_world.send_day(day)
        close = engine._close

        def die(step: Step, state: Step.State) -> None:
            if step.name == name:
                raise KeyboardInterrupt
            close(step, state)

        monkeypatch.setattr(engine, "_close", die)
        with pytest.raises(KeyboardInterrupt):
            advance(run_id=run.pk)
        monkeypatch.undo()
        assert Deployment.objects.get(model=run.model).champion == run.champion
        let_lease_run_out(run)

        advance(run_id=run.pk)

        run.refresh_from_db()
        assert run.state == "promoted"
        assert Deployment.objects.get(model=run.model).champion == run.challenger
        assert DeploymentChange.objects.filter(model=run.model, kind="promote").count() == 1
        assert Dataset.objects.filter(version=run.challenger, kind="reference").count() == 1
        assert messages_by_event() == EACH_ONCE

    def test_a_step_that_kills_each_worker_ends_the_run(self, run: Run) -> None:
        run.steps.filter(name="snapshot").update(attempts=engine.MAX_ATTEMPTS, state=Step.State.RUNNING)

        advance(run_id=run.pk)

        run.refresh_from_db()
        assert run.state == "failed"
        assert "never ended" in run.steps.get(name="snapshot").error


class TestStaleWorker:
    def test_cannot_write_once_another_took_over(self, run: Run) -> None:
        stale = claim_run(run.pk)
        assert stale is not None
        let_lease_run_out(run)
        fresh = claim_run(run.pk)
        assert fresh is not None
        assert fresh.token != stale.token

        with pytest.raises(LeaseLost), stale.fenced():
            pass

        with fresh.fenced() as locked:
            assert locked.pk == run.pk

    def test_does_not_get_a_run_that_another_holds(self, run: Run) -> None:
        claim_run(run.pk)

        assert claim_run(run.pk) is None

    def test_does_not_get_a_run_with_a_step_that_looks_again(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Something came while the step looked for so long that its lease was about to run out."""
        claims: list[RunLease | None] = []

        def look(context: RunContext) -> StepOutcome:
            if claims:
                claims.append(claim_run(run.pk))
                return StepOutcome(StepAnswer.REJECTED)
            claims.append(None)
            let_lease_run_out(run)
            Run.objects.filter(pk=run.pk).update(generation=F("generation") + 1)
            return StepOutcome(StepAnswer.WAITING, needs="traffic")

        monkeypatch.setitem(engine.STEPS, "snapshot", look)

        advance(run_id=run.pk)

        assert claims == [None, None]

    @pytest.mark.slow
    def test_ends_its_trainer_when_a_person_cancels(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(RunLease, "RENEWAL_SECONDS", 0.05)
        busy = threading.Thread(target=work_and_close, args=(run.pk,))
        busy.start()
        wait_until(lambda: trainer_of(run))

        services.cancel(run=run, actor="ada@example.com")

        busy.join(30)
        assert not busy.is_alive()
        assert trainer_of(run) is None
        run.refresh_from_db()
        assert run.state == "cancelled"
        assert run.model.versions.count() == 1
        assert not Deployment.objects.get(model=run.model).shadows.exists()


def work_and_close(run_id: int) -> None:
    try:
        advance(run_id=run_id)
    finally:
        connection.close()


class TestTurns:
    def test_a_long_step_waits_for_the_turn_of_its_project(self, run: Run) -> None:
        """Training takes minutes: it does not begin in a process that is kept for short work."""
        engine.advance(run_id=run.pk, has_turn=False)

        run.refresh_from_db()
        assert (run.state, run.lease_until) == ("queued", None)
        assert run.steps.get(name="snapshot").attempts == 0
        assert list(engine.runs_before_a_long_step()) == [run]
