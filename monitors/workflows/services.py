"""Writes of workflows: what a model's workflow is, and the starts, approvals and ends of its runs."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from driftline.base.http.settings_schema import check_settings
from driftline.base.strict_json import escape_pointer, printable
from driftline.base.work.task_queue import Task, enqueue
from inference.data_files.times import time_zones
from inference.prediction_log.queries.selectors import newest_event
from inference.registry.models import Model
from monitors.workflows.ending.finishing import finish
from monitors.workflows.hooks import list_webhooks, set_pipeline
from monitors.workflows.judging.margins import check_custom_margins
from monitors.workflows.judging.pairs import JUDGED, count_labelled
from monitors.workflows.models import ACTIVE_STATES, Rollout, Run, RunState, Step, Workflow
from monitors.workflows.rollouts.plan import RolloutPlan
from monitors.workflows.rollouts.services import resume_rollout
from monitors.workflows.settings import WorkflowChanges
from monitors.workflows.steps.shadow import PERSON, TRAFFIC, progress, wanted_pairs
from monitors.workflows.trainers.catalogue import REMOTE
from monitors.workflows.trainers.launch import memory_of_machine_mb
from monitors.workflows.trainers.parameters import find_faults
from monitors.workflows.triggers.new_references import newest_reference
from monitors.workflows.triggers.schedules import BadSchedule, Schedule

ROLLOUT_PAUSE_SECONDS = 5.0
"""Between two messages to check a rollout; a model with live traffic is judged more often."""


# -- the workflow ------------------------------------------------------------------------------------------------------
def configure_workflow(*, model: Model, actor: str, **changes: Any) -> Workflow:
    """Change how a model is retrained and judged; the other settings stay."""
    changes = _check_settings(model, changes)
    if "rollout" in changes:
        changes["rollout"] = checked_rollout(model, changes["rollout"])
    with transaction.atomic():
        workflow, _ = Workflow.objects.select_for_update().get_or_create(model=model)
        secret = changes.pop("remote_secret", None)
        if "remote" in changes or secret is not None:
            remote = set_pipeline(workflow, changes.get("remote", workflow.remote), secret)
            changes |= {"remote": remote} if "remote" in changes else {}
        before = {name: getattr(workflow, name) for name in changes}
        for name, value in changes.items():
            setattr(workflow, name, value)
        _check_pipeline(workflow)
        if {"trainer", "parameters"} & changes.keys():
            _check_parameters(workflow)
        if workflow.max_pairs < workflow.pairs:
            raise invalid(
                "/workflow/max_pairs",
                f"max_pairs is {workflow.max_pairs}; use at least pairs, {workflow.pairs}.",
            )
        _set_triggers(workflow, changes)
        workflow.save()
        record_audit(
            project=model.project,
            actor=actor,
            action="workflow.update",
            subject=model.name,
            before=before,
            after=changes if secret is None else {**changes, "remote_secret": "changed"},
        )
    return workflow


def _check_pipeline(workflow: Workflow) -> None:
    if workflow.trainer == REMOTE and not workflow.remote:
        raise invalid(
            "/workflow/remote",
            'The trainer is a pipeline; say which, such as {"kind": "http", "url": "https://train.example.com"}.',
        )


def _check_parameters(workflow: Workflow) -> None:
    for name, fault in find_faults(workflow.trainer, workflow.parameters).items():
        raise invalid(f"/workflow/parameters/{escape_pointer(name)}", fault)


def _check_settings(model: Model, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they are stored. Raises Problem with pointers to what is wrong."""
    changes = check_settings(WorkflowChanges, given, "/workflow")
    if "trainer" in changes and changes["trainer"] not in settings.TRAINERS:
        raise invalid(
            "/workflow/trainer",
            f"{changes['trainer'][:64]!r} is not a trainer here; use one of {', '.join(settings.TRAINERS)}.",
        )
    if (megabytes := changes.get("memory_mb")) is not None and megabytes > memory_of_machine_mb():
        raise invalid(
            "/workflow/memory_mb",
            f"memory_mb is {megabytes:,}; this machine has {memory_of_machine_mb():,}. Use less, or train elsewhere.",
        )
    _check_gate(model, changes.get("gate", {}))
    return changes


def checked_rollout(model: Model, given: object) -> dict[str, Any]:
    """Return a rollout plan as it is stored; raises Problem with a pointer to what is wrong."""
    plan = RolloutPlan.parse(given)
    known = list_webhooks(model.project) if plan.hooks else ()
    for place, name in enumerate(plan.hooks):
        if name not in known:
            raise invalid(
                f"/workflow/rollout/hooks/{place}",
                f"{printable(name)!r} is no webhook channel of this project; "
                + (f"use one of {', '.join(known)}." if known else "add one first."),
            )
    return plan.as_json()


def _set_triggers(workflow: Workflow, changes: Mapping[str, Any]) -> None:
    """Set when the changed schedule is due next, and from when on labelled rows count as new."""
    if workflow.schedule_zone not in time_zones():
        raise invalid(
            "/workflow/schedule_zone",
            f"{workflow.schedule_zone[:64]!r} is no time zone; use a name such as Europe/Berlin.",
        )
    if {"schedule", "schedule_zone"} & changes.keys():
        workflow.next_start_at = None
        if workflow.schedule:
            try:
                schedule = Schedule.parse(workflow.schedule, workflow.schedule_zone)
            except BadSchedule as error:
                raise invalid("/workflow/schedule", str(error)) from error
            workflow.next_start_at = schedule.next_after(now())
    if changes.get("every_labels") is not None and workflow.labels_since is None:
        workflow.labels_since = newest_event(workflow.model) or now()
    if changes.get("on_new_reference"):
        workflow.reference_seen = newest_reference(workflow.model)


def _check_gate(model: Model, gate: Mapping[str, Any]) -> None:
    objectives = JUDGED.get(model.task, ())
    if "objective" in gate and gate["objective"] not in objectives:
        raise invalid(
            "/workflow/gate/objective",
            f"{gate['objective'][:64]!r} cannot be judged on pairs; use one of {', '.join(objectives)}.",
        )
    check_custom_margins(model, gate.get("margins"))


# -- people ------------------------------------------------------------------------------------------------------------
def approve(*, run: Run, actor: str) -> Run:
    """Allow a run that waits for a person to go on, be it with its rollout."""
    if Rollout.objects.filter(run=run, state=Rollout.State.PAUSED).exists():
        return resume_rollout(run=run, actor=actor)
    with transaction.atomic():
        run = _locked(run)
        if run.needs != PERSON:
            raise Problem(
                409, "not_waiting_for_person", f"Run {run.pk} is {run.state}; nobody has to approve it now."
            )
        run.approved_by, run.state, run.needs, run.waiting_for = actor[:200], RunState.RUNNING, "", ""
        run.generation += 1
        run.save(update_fields=["approved_by", "state", "needs", "waiting_for", "generation"])
        record_audit(
            project=run.model.project,
            actor=actor,
            action="run.approve",
            subject=f"run {run.pk} of {run.model}",
        )
        enqueue(Task.ADVANCE_RUN, run_id=run.pk)
    return run


def reject(*, run: Run, actor: str, reason: str = "") -> Run:
    """End a run because a person does not want its challenger."""
    return _end(run, RunState.REJECTED, actor, reason or "rejected by a person")


def cancel(*, run: Run, actor: str, reason: str = "") -> Run:
    """End a run, whatever it is doing: its worker finds the lease gone and stops within seconds."""
    return _end(run, RunState.CANCELLED, actor, reason or "cancelled by a person")


def _end(run: Run, state: RunState, actor: str, reason: str) -> Run:
    with transaction.atomic():
        run = _locked(run)
        if Rollout.objects.filter(run=run, state=Rollout.State.WATCHING).exists():
            raise Problem(
                409,
                "rollout_watched",
                f"Run {run.pk} has promoted its challenger; roll it back, or resume it to end the watch.",
            )
        finish(run, state=state, actor=actor, reason=reason)
    run.refresh_from_db()
    return run


def _locked(run: Run) -> Run:
    run = Run.objects.select_for_update(of=("self",)).select_related("model__project").get(pk=run.pk)
    if run.state not in ACTIVE_STATES:
        raise Problem(409, "run_finished", f"Run {run.pk} is {run.get_state_display().lower()} already.")
    return run


# -- waking ------------------------------------------------------------------------------------------------------------
def wake_runs(model: Model) -> None:
    """Make the model's run go on if the pairs that it waits for have come; one indexed count, and a task if so.

    A rollout is checked too once its next check is due, as a full queue would make it wait for a sweep.

    To be called in the transaction that makes new labels count, so that no moment looks finished in between.
    """
    for run in Run.objects.filter(model=model, state=RunState.WAITING, needs=TRAFFIC).select_related(
        "model", "champion", "challenger"
    ):
        _wake(run)
    due = Rollout.objects.filter(run__model=model, run__state__in=ACTIVE_STATES, next_check_at__lte=Now())
    for run_id in due.values_list("run", flat=True):
        enqueue(Task.ADVANCE_RUN, pause_seconds=ROLLOUT_PAUSE_SECONDS, run_id=run_id)


def _wake(run: Run) -> None:
    step = run.steps.filter(state=Step.State.WAITING, name__in=("shadow", "gate")).first()
    if step is None:
        return  # its worker has just moved on, or it looks again by itself
    wanted = step.evidence["wanted"]
    compared = wanted_pairs(run, run.steps.get(name="shadow").evidence["since"])
    found = count_labelled(compared)
    waits = Run.objects.filter(pk=run.pk, state=RunState.WAITING, needs=TRAFFIC)
    if found < wanted:
        text = progress(found, wanted, compared.label_lag)
        waits.exclude(waiting_for=text).update(waiting_for=text)
    elif waits.update(state=RunState.RUNNING, needs="", waiting_for="", generation=F("generation") + 1):
        enqueue(Task.ADVANCE_RUN, run_id=run.pk)
