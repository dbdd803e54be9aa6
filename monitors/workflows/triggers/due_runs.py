"""Starts runs that a schedule, new labels or a new reference ask for: each once, however many schedulers there are.

The row of a workflow is locked while its run starts and its next time is set, in one transaction. What was due while
nobody looked is one run. An audit row says why what was due could not start.
"""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Max, Q, QuerySet, Sum
from django.db.models.functions import Coalesce

from driftline.base.periods import counted
from inference.prediction_log.models import ANSWERING_ROLES
from inference.registry.models import Model
from monitors.summaries.models import Summary
from monitors.workflows.models import ACTIVE_STATES, Run, Step, Workflow
from monitors.workflows.starting.starts import (
    UnableToStart,
    check_automatic,
    check_start,
    start_automatic_run,
)
from monitors.workflows.triggers.new_references import newest_reference
from monitors.workflows.triggers.schedules import Schedule

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
    watching = Workflow.objects.filter(on_new_reference=True, model__archived_at=None)
    started += [_start_by_reference(pk) for pk in watching.values_list("pk", flat=True)]
    return [run for run in started if run is not None]


def _start_scheduled(workflow_id: int, at: datetime) -> Run | None:
    with transaction.atomic():
        workflow = _claimed(Workflow.objects.filter(pk=workflow_id, next_start_at__lte=at))
        if workflow is None:
            return None
        workflow.next_start_at = Schedule.parse(workflow.schedule, workflow.schedule_zone).next_after(at)
        workflow.save(update_fields=["next_start_at"])
        return start_automatic_run(workflow.model, f"schedule {workflow.schedule} ({workflow.schedule_zone})")


def _start_by_labels(workflow_id: int, at: datetime) -> Run | None:
    with transaction.atomic():
        workflow = _claimed(Workflow.objects.filter(pk=workflow_id))
        if workflow is None or workflow.every_labels is None:
            return None
        found = new_labels(workflow)
        if found < workflow.every_labels:
            return None
        run = start_automatic_run(workflow.model, counted(found, "new labelled row"))
        if run is None:
            workflow.labels_rest_until = at + REST
            workflow.save(update_fields=["labels_rest_until"])
        return run


def _start_by_reference(workflow_id: int) -> Run | None:
    with transaction.atomic():
        workflow = _claimed(Workflow.objects.filter(pk=workflow_id, on_new_reference=True))
        newest = newest_reference(workflow.model) if workflow else 0
        if workflow is None or newest <= workflow.reference_seen:
            return None
        workflow.reference_seen = newest
        workflow.save(update_fields=["reference_seen"])
        return start_automatic_run(workflow.model, "a new reference of the champion")


def new_labels(workflow: Workflow) -> int:
    """Count the labelled rows of the days that began since the newest training; labels that come later to days before
    are not among them."""
    trained = Step.objects.filter(run__model=workflow.model, name="train", state=Step.State.DONE)
    learnt_until = Run.objects.filter(pk__in=trained.values("run")).aggregate(until=Max("data_until"))[
        "until"
    ]
    summed = Summary.objects.filter(
        model=workflow.model, segment="", role__in=ANSWERING_ROLES, span__in=("day", "month"),
        start__gte=max(moment for moment in (workflow.labels_since, learnt_until) if moment),
    )  # fmt: skip
    return int(summed.aggregate(labelled=Coalesce(Sum("labelled"), 0))["labelled"])


def _claimed(workflows: QuerySet[Workflow]) -> Workflow | None:
    return (
        workflows.select_for_update(of=("self",), skip_locked=True).select_related("model__project").first()
    )


def what_would_happen(model: Model) -> list[str]:
    """Describe in sentences what a start now would do, and what starts runs without a person."""
    workflow, alone = Workflow.of(model), []
    try:
        _, until = check_start(model)
    except UnableToStart as refusal:
        lines = [f"No run can start now: {refusal.detail}"]
    else:
        lines = [f"A run that starts now learns from labelled rows up to {_written(until)}."]
        try:
            check_automatic(model, until)
        except UnableToStart as refusal:
            alone = [f"Without a person none would start: {refusal.detail}"]
    if workflow.next_start_at:
        lines.append(f"The schedule starts the next one at {_written(workflow.next_start_at)}.")
    if workflow.every_labels:
        found = new_labels(workflow)
        lines.append(f"{found:,} of {workflow.every_labels:,} new labelled rows have come that start one.")
    if workflow.on_new_reference:
        lines.append("A new reference of the champion starts one.")
    return [*lines, *alone]


def _written(at: datetime) -> str:
    return f"{at:%-d %b %Y %H:%M} UTC"
