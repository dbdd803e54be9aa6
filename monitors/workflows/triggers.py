"""Starts runs that a schedule or new labels ask for: each once, however many schedulers there are.

A due schedule is claimed by its workflow's row, and its run has a key of the moment that it was due, so that no second
run can be made of it. What was due while nobody looked is one run. What cannot start leaves an audit row that says why.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from driftline.accounts.services import record_audit
from driftline.common.periods import counted, rfc3339
from inference.prediction_log.models import ANSWERING_ROLES
from inference.registry.models import Model
from monitors.summaries.models import Summary
from monitors.workflows.models import ACTIVE_STATES, Run, Step, Workflow
from monitors.workflows.schedules import Schedule
from monitors.workflows.services import (
    AUTOMATIC,
    UnableToStart,
    check_automatic,
    newest_data,
    refusal_to_start,
    start_run,
)

REST = timedelta(days=1)
"""After new labels could not start a run."""


def start_due_runs(at: datetime) -> list[Run]:
    """Start what is due at a moment; returns the runs that began."""
    scheduled = Workflow.objects.filter(next_start_at__lte=at, model__archived_at=None)
    started = [_start_scheduled(pk, at) for pk in scheduled.values_list("pk", flat=True)]
    counting = Workflow.objects.filter(every_labels__isnull=False, model__archived_at=None)
    counting = counting.filter(Q(labels_rest_until=None) | Q(labels_rest_until__lte=at))
    counting = counting.exclude(model__runs__state__in=ACTIVE_STATES)
    started += [_start_by_labels(pk, at) for pk in counting.values_list("pk", flat=True)]
    return [run for run in started if run is not None]


def _start_scheduled(workflow_id: int, at: datetime) -> Run | None:
    with transaction.atomic():
        workflow = _claimed(Workflow.objects.filter(pk=workflow_id, next_start_at__lte=at))
        if workflow is None or workflow.next_start_at is None:
            return None
        due = workflow.next_start_at
        workflow.next_start_at = Schedule.parse(workflow.schedule, workflow.schedule_zone).next_after(at)
        workflow.save(update_fields=["next_start_at"])
        trigger = f"schedule {workflow.schedule} ({workflow.schedule_zone})"
        return _start(workflow.model, trigger, f"{AUTOMATIC}schedule {rfc3339(due)}")


def _start_by_labels(workflow_id: int, at: datetime) -> Run | None:
    with transaction.atomic():
        workflow = _claimed(Workflow.objects.filter(pk=workflow_id))
        if workflow is None or workflow.every_labels is None:
            return None
        found = new_labels(workflow)
        if found < workflow.every_labels:
            return None
        since = labels_count_from(workflow)
        run = _start(
            workflow.model, counted(found, "new labelled row"), f"{AUTOMATIC}labels since {rfc3339(since)}"
        )
        if run is None:
            workflow.labels_rest_until = at + REST
            workflow.save(update_fields=["labels_rest_until"])
        return run


def labels_count_from(workflow: Workflow) -> datetime:
    """Return the event time from which labelled rows are new: the newest run that trained had no row from then on."""
    trained = Step.objects.filter(run__model=workflow.model, name="train", state=Step.State.DONE)
    newest = Run.objects.filter(pk__in=trained.values("run")).order_by("-data_until").first()
    moments = [moment for moment in (workflow.labels_since, newest and newest.data_until) if moment]
    return max(moments)


def new_labels(workflow: Workflow) -> int:
    """Count the labelled rows of the days that began since the newest training; labels that come later to days before
    are not among them."""
    summed = Summary.objects.filter(
        model=workflow.model, segment="", role__in=ANSWERING_ROLES, start__gte=labels_count_from(workflow),
        span__in=("day", "month"),
    )  # fmt: skip
    return int(summed.aggregate(labelled=Coalesce(Sum("labelled"), 0))["labelled"])


def _claimed(workflows: QuerySet[Workflow]) -> Workflow | None:
    return (
        workflows.select_for_update(of=("self",), skip_locked=True).select_related("model__project").first()
    )


def _start(model: Model, trigger: str, key: str) -> Run | None:
    try:
        until = newest_data(model)
        check_automatic(model, until)
        return start_run(
            model=model, trigger=trigger[:200], actor=trigger[:200], data_until=until, request_key=key
        )
    except UnableToStart as refusal:
        record_audit(
            project=model.project,
            actor=trigger[:200],
            action="run.not_started",
            subject=model.name,
            after={"code": refusal.code, "reason": refusal.detail},
        )
        return None


def what_would_happen(model: Model) -> list[str]:
    """Say in sentences what a start now would do, and what starts runs without a person."""
    workflow = Workflow.of(model)
    refusal = refusal_to_start(model)
    lines = [
        f"No run can start now: {refusal.detail}"
        if refusal
        else f"A run that starts now learns from labelled rows up to {_written(newest_data(model))}."
    ]
    if workflow.next_start_at:
        lines.append(f"The schedule starts the next one at {_written(workflow.next_start_at)}.")
    if workflow.every_labels:
        found = new_labels(workflow)
        lines.append(f"{found:,} of {workflow.every_labels:,} new labelled rows have come that start one.")
    if refusal is None and (automatic := refusal_to_start(model, automatic=True)):
        lines.append(f"Without a person none would start: {automatic.detail}")
    return lines


def _written(at: datetime) -> str:
    return f"{at:%-d %b %Y %H:%M} UTC"
