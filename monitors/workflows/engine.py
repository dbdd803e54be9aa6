"""Moves a run from step to step; killed at any point, it goes on with the step at which it was."""

import logging
from contextlib import suppress
from typing import Any

from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now

from driftline.common.errors import Problem
from driftline.common.lease import LeaseLost
from driftline.common.machine_paths import without_folders
from driftline.common.task_queue import Task, enqueue
from inference.registry.models import Deployment
from monitors.workflows.context import RunContext, StepAnswer, StepFailed, StepOutcome, to_json
from monitors.workflows.finishing import finish
from monitors.workflows.leases import RunLease, claim_run
from monitors.workflows.models import Run, RunState, Step, Workflow
from monitors.workflows.reporting import report_waiting
from monitors.workflows.steps import STEPS
from monitors.workflows.steps.shadow import PERSON
from monitors.workflows.trainers.catalogue import TrainerNotAllowed
from monitors.workflows.trainers.launch import TrainingFailed

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
EXPECTED_FAILURES = (StepFailed, TrainingFailed, TrainerNotAllowed, Problem)


LONG_STEPS = ("snapshot", "check_labels", "train", "convert", "validate", "register")
"""Steps that take minutes: they wait for the turn of their project."""


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
    if reason := _obstacle(run, step):
        with lease.fenced() as locked:
            finish(locked, state=RunState.CANCELLED, actor=f"run {run.pk}", reason=reason)
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
    except EXPECTED_FAILURES as failure:
        _fail(lease, step, without_folders(str(failure)))
        return False
    except LeaseLost:
        raise
    except Exception as error:
        # Counted as running, so that a step which fails the same way again comes to its last attempt.
        reason = without_folders(f"{type(error).__name__}: {error}")
        run.steps.filter(pk=step.pk).update(state=Step.State.RUNNING, error=reason[:2000])
        raise


def _current_step(run: Run) -> Step:
    return run.steps.exclude(state__in=Step.OVER).earliest("position")


def _obstacle(run: Run, step: Step) -> str:
    """Say why the run has lost its sense, if it has: its comparison was with this champion, by this shadow."""
    deployment = Deployment.objects.select_related("champion").get(model=run.model)
    if deployment.champion_id != run.champion_id:
        name = deployment.champion.version if deployment.champion else None
        return f"Version {name} became champion while the run was under way; start a new run."
    shadowed = "since" in step.evidence or step.name == "gate"
    if shadowed and run.challenger not in deployment.shadows.all():
        name = run.challenger.version if run.challenger else None
        return f"Version {name} was taken out of the shadows while the run compared it."
    return ""


def _begin(lease: RunLease, step: Step) -> None:
    with lease.fenced() as run:
        run.state, run.waiting_for, run.needs = RunState.RUNNING, "", ""
        run.save(update_fields=["state", "waiting_for", "needs"])
        run.steps.filter(pk=step.pk).update(
            state=Step.State.RUNNING, attempts=F("attempts") + 1, started_at=Coalesce("started_at", Now())
        )
    step.attempts += 1


def _record(lease: RunLease, step: Step, outcome: StepOutcome, *, seen: int) -> bool:
    """Write a step's answer and all that it changes in one transaction, in which the token holds."""
    with lease.fenced() as run:
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
        if step.name == list(STEPS)[-1]:
            finish(run, state=RunState.PROMOTED, actor=f"run {run.pk}", reason="the gate was passed")
            return False
        return True


def _wait(lease: RunLease, run: Run, step: Step, outcome: StepOutcome, *, seen: int) -> bool:
    """Give the run back until what it needs has come, unless something came while the step looked."""
    step.state = Step.State.WAITING
    step.save(update_fields=["state", "evidence"])
    is_new = (run.needs, run.waiting_for) != (outcome.needs, outcome.waiting_for)
    run.state, run.waiting_for, run.needs = RunState.WAITING, outcome.waiting_for, outcome.needs
    run.save(update_fields=["state", "waiting_for", "needs"])
    if is_new and run.needs == PERSON:
        report_waiting(run)
    changed_meanwhile = run.generation != seen
    if not changed_meanwhile:
        lease.release()
    return changed_meanwhile


def _fail(lease: RunLease, step: Step, reason: str) -> None:
    with lease.fenced() as run:
        step.error = reason
        _close(step, Step.State.FAILED)
        finish(run, state=RunState.FAILED, actor=f"run {run.pk}", reason=f"{step.name}: {reason}")


def _close(step: Step, state: Step.State) -> None:
    step.state, step.finished_at = state, Now()
    step.save(update_fields=["state", "finished_at", "evidence", "error"])
