"""Moves a run from step to step; killed at any point, it goes on with the step at which it was."""

import logging
from contextlib import suppress
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now

from driftline.base.errors import Problem
from driftline.base.processes.machine_paths import without_folders
from driftline.base.work.lease import LeaseLost
from driftline.base.work.task_queue import Task, enqueue
from inference.registry.models import Deployment
from monitors.workflows.context import (
    ChangedMeanwhile,
    RunContext,
    StepAnswer,
    StepFailed,
    StepOutcome,
    to_json,
)
from monitors.workflows.ending.finishing import finish
from monitors.workflows.ending.obstacles import obstacle_of
from monitors.workflows.ending.reporting import report_waiting
from monitors.workflows.leases import RunLease, claim_run
from monitors.workflows.models import Run, RunState, Step, Workflow
from monitors.workflows.steps import STEPS
from monitors.workflows.steps.shadow import PERSON
from monitors.workflows.trainers.catalogue import TrainerNotAllowed
from monitors.workflows.trainers.launch import TrainingFailed

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
EXPECTED_FAILURES = (StepFailed, TrainingFailed, TrainerNotAllowed, Problem)


LONG_STEPS = ("snapshot", "check_labels", "check_data", "train", "convert", "validate", "register")
"""Steps that take minutes: they wait for the turn of their project."""
STEPS_OF_TRAFFIC = ("shadow", "gate", "rollout", "promote", "watch")
"""Steps that change who answers, or rest on it."""


def advance(*, run_id: int, has_turn: bool = True) -> bool:
    """Take a run as far as it can go now; safe to call at any time and from several workers.

    Without a turn it stops before a long step. Returns whether there was something to do.
    """
    lease = claim_run(run_id)
    if lease is None:
        return False
    try:
        with lease.renewed():
            while _run_step(lease, has_turn=has_turn):
                pass
    except LeaseLost:
        log.info("run is another's now", extra={"run": run_id})
    except Exception:
        with suppress(LeaseLost):
            lease.release()
        raise
    return True


def runs_before_a_long_step() -> QuerySet[Any]:
    """Select the runs that can go on, of which the present step is a long one; who waits is looked at in between."""
    steps = Step.objects.filter(run=OuterRef("pk")).exclude(state__in=Step.OVER).order_by("position")
    present = Run.objects.annotate(present=Subquery(steps.values("name")[:1]))
    return present.filter(state__in=(RunState.QUEUED, RunState.RUNNING), present__in=LONG_STEPS).due()


def _run_step(lease: RunLease, *, has_turn: bool) -> bool:
    """Run the present step; return whether another can follow at once."""
    run = lease.read()
    step = _current_step(run)
    if obstacle := obstacle_of(run, step):
        with lease.fenced() as locked:
            finish(
                locked, state=obstacle.state, actor=obstacle.actor or f"run {run.pk}", reason=obstacle.reason
            )
        return False
    if step.name in LONG_STEPS and step.state != Step.State.WAITING and not has_turn:
        lease.release()
        enqueue(Task.LONG_WORK)
        return False
    if step.state != Step.State.WAITING:
        _begin(lease, step)
    context = RunContext(run=run, workflow=Workflow.objects.get(model=run.model), step=step, lost=lease.lost)
    try:
        if step.attempts > MAX_ATTEMPTS:
            raise StepFailed(
                f"The step was started {MAX_ATTEMPTS} times and never ended. {step.error}".strip()
            )
        return _record(lease, step, STEPS[step.name](context), seen=run.generation)
    except ChangedMeanwhile:
        return True
    except EXPECTED_FAILURES as failure:
        return _fail(lease, step, without_folders(str(failure)), seen=run.generation)
    except LeaseLost:
        raise
    except Exception as error:
        # Counted as running, so that a step which fails the same way again comes to its last attempt.
        reason = without_folders(f"{type(error).__name__}: {error}")
        run.steps.filter(pk=step.pk).update(state=Step.State.RUNNING, error=reason[:2000])
        raise


def _current_step(run: Run) -> Step:
    return run.steps.exclude(state__in=Step.OVER).earliest("position")


def _begin(lease: RunLease, step: Step) -> None:
    with lease.fenced() as run:
        run.state, run.waiting_for, run.needs = RunState.RUNNING, "", ""
        run.save(update_fields=["state", "waiting_for", "needs"])
        run.steps.filter(pk=step.pk).update(
            state=Step.State.RUNNING, attempts=F("attempts") + 1, started_at=Coalesce("started_at", Now())
        )
    step.attempts += 1


def _record(lease: RunLease, step: Step, outcome: StepOutcome, *, seen: int) -> bool:
    """Write a step's answer and all that it changes in one transaction, in which the token holds.

    Somebody may have changed the deployment while the step looked, or asked others: then nothing is written, and the
    next turn finds it.
    """
    with lease.fenced() as run:
        if step.name in STEPS_OF_TRAFFIC:
            _check_deployment(run, step)
        found = outcome.effect(run) if outcome.effect else {}
        step.evidence = to_json(step.evidence | outcome.evidence | found)
        if outcome.verdict is not None:
            run.verdict = to_json(outcome.verdict)
            run.save(update_fields=["verdict"])
        if outcome.answer == StepAnswer.WAITING:
            return _wait(lease, run, step, outcome, seen=seen)
        _close(step, Step.State.DONE)
        if outcome.answer == StepAnswer.REJECTED:
            finish(run, state=RunState.REJECTED, actor=f"run {run.pk}", reason=outcome.reason)
            return False
        if outcome.answer == StepAnswer.ROLLED_BACK:
            finish(run, state=RunState.ROLLED_BACK, actor=f"run {run.pk}", reason=outcome.reason)
            return False
        if not run.steps.exclude(state__in=Step.OVER).exists():
            finish(run, state=RunState.PROMOTED, actor=f"run {run.pk}", reason="the gate was passed")
            return False
        return True


def _check_deployment(run: Run, step: Step) -> None:
    """Lock the deployment for what the step changes of it; raises ChangedMeanwhile where the run has lost its sense."""
    Deployment.objects.select_for_update(of=("self",)).get(model=run.model)
    if obstacle_of(run, step):
        raise ChangedMeanwhile


def _wait(lease: RunLease, run: Run, step: Step, outcome: StepOutcome, *, seen: int) -> bool:
    """Put the run back until what it needs has come, unless something came while the step looked.

    A step that looks again and again, for days perhaps, may fail as often at each look as at the first one.
    """
    step.state = Step.State.WAITING
    if step.name in STEPS_OF_TRAFFIC:
        step.attempts = 1
    step.save(update_fields=["state", "evidence", "attempts"])
    is_new = (run.needs, run.waiting_for) != (outcome.needs, outcome.waiting_for)
    run.state, run.waiting_for, run.needs = RunState.WAITING, outcome.waiting_for, outcome.needs
    run.save(update_fields=["state", "waiting_for", "needs"])
    if is_new and run.needs == PERSON:
        report_waiting(run)
    changed_meanwhile = run.generation != seen
    if not changed_meanwhile:
        lease.release()
    return changed_meanwhile


def _fail(lease: RunLease, step: Step, reason: str, *, seen: int) -> bool:
    """End the run, unless something came while a waiting step looked: then have it look again."""
    with lease.fenced() as run:
        if step.state == Step.State.WAITING and run.generation != seen:
            return True
        step.error = reason
        _close(step, Step.State.FAILED)
        stays = " The challenger stays the champion, without a watch." if step.name == "watch" else ""
        finish(run, state=RunState.FAILED, actor=f"run {run.pk}", reason=f"{step.name}: {reason}{stays}")
    return False


def _close(step: Step, state: Step.State) -> None:
    step.state, step.finished_at = state, Now()
    step.save(update_fields=["state", "finished_at", "evidence", "error"])
