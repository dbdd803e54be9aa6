"""The tasks of the clock: they enqueue tasks for work that waits in PostgreSQL, in case the first message was lost."""

from itertools import chain
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db.models import Min, QuerySet, Window
from django.db.models.functions import Now, RowNumber

from driftline.base.accounts.audit.chain import oldest_unsealed, seal_entries
from driftline.base.clock import now
from driftline.base.feature import features
from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import touch
from driftline.operations.capacity.log_archive import record_log_archive
from driftline.operations.capacity.project_sizes import measure_projects
from driftline.operations.capacity.samples import record_disk
from driftline.operations.long_slots import long_slot
from driftline.operations.long_work import run_next, something_waits
from driftline.operations.models import Heartbeat
from driftline.sign_in.invitations import waiting_letters
from inference.prediction_log.imports.services import remove_leftovers as remove_leftovers_of_imports
from inference.prediction_log.models import TouchedPeriod
from inference.registry.files.artifacts import remove_leftovers
from inference.registry.plan.publishing import publish_overdue
from monitors.alerts.models import ChannelTimer, Delivery, Incident
from monitors.alerts.sending.job_callbacks import forget_old_callbacks
from monitors.feed.services import forget_old_events
from monitors.metrics.store.models import PendingEvaluation
from monitors.rules.models import Transition
from monitors.rules.selectors import models_to_judge
from monitors.summaries.models import StaleWindow
from monitors.workflows.ending.reporting import remind_of_waiting_runs
from monitors.workflows.models import ACTIVE_STATES, Run, RunState
from monitors.workflows.steps.shadow import TRAFFIC

MAX_LONG_TASKS = 4  # a sweep: as many more processes begin with long work, until all slots are taken
MAX_TASKS = 50  # a sweep and kind: more than workers do by the next, so that messages never pile up


@shared_task(name=Task.SWEEP)
def sweep() -> None:
    """Enqueue tasks for what is due, the oldest first; the next sweep does the same for the rest."""
    _enqueue_for_models(Task.SUMMARISE, TouchedPeriod.objects.due())
    _enqueue_for_models(Task.MEASURE, StaleWindow.objects.due())
    _enqueue_for_models(Task.JUDGE, PendingEvaluation.objects.due())
    _enqueue_for_each(Task.ALERT, "transition_id", Transition.objects.filter(alerts_done_at=None))
    _enqueue_for_each(Task.START_WORKFLOW, "transition_id", Transition.objects.filter(workflows_done_at=None))
    runs = Run.objects.filter(state__in=ACTIVE_STATES, model__project__archived_at=None)
    _enqueue_for_each(Task.ADVANCE_RUN, "run_id", runs.due())
    for due in chain.from_iterable(feature.due for feature in features()):
        _enqueue_for_each(due.task, due.argument, due.rows())
    _enqueue_for_each(Task.SEND_INVITATION, "invitation_id", waiting_letters(now=now()))
    if ChannelTimer.objects.filter(due_at__lte=Now(), incident__project__archived_at=None).exists():
        enqueue(Task.NOTIFY)
    _enqueue_for_each(Task.RANK_CAUSES, "incident_id", Incident.objects.filter(causes_due_at__lte=Now()))
    if Delivery.objects.filter(state=Delivery.State.PENDING, next_attempt_at__lte=Now()).due().exists():
        enqueue(Task.DELIVER)
    publish_overdue()
    if oldest_unsealed() is not None:
        enqueue(Task.SEAL_AUDIT)

    if something_waits():
        for _ in range(MAX_LONG_TASKS):
            enqueue(Task.LONG_WORK)


@shared_task(name=Task.LONG_WORK)
def long_work(**_: object) -> None:
    """Do the long work that is next, unless this worker does as much of it as it may, and enqueue the rest."""
    with long_slot() as is_free:
        has_worked = is_free and run_next()
    if has_worked and something_waits():
        enqueue(Task.LONG_WORK)


@shared_task(name=Task.CLOSE_WINDOWS)
def close_windows() -> None:
    """Make rules look again where a window has closed or ripened by time alone, or where a run waits for rows."""
    waiting = Run.objects.filter(state=RunState.WAITING, needs=TRAFFIC).values_list("model_id", flat=True)
    models = models_to_judge(now()).union(waiting)
    touch(PendingEvaluation, [(pk,) for pk in models], fields=("model_id",))
    _enqueue_for_models(Task.JUDGE, PendingEvaluation.objects.due())


@shared_task(name=Task.SEAL_AUDIT)
def seal_audit() -> None:
    """Assign audit entries their place in the chain where that failed when they were written."""
    seal_entries()


@shared_task(name=Task.HEARTBEAT)
def heartbeat() -> None:
    """Prove that ticks are not only sent but consumed."""
    Heartbeat.objects.update_or_create(name="worker", defaults={"at": now()})


@shared_task(name=Task.TIDY)
def tidy() -> None:
    """Remove what killed uploads and imports left behind, and what is old; remind of runs that wait for a person.

    It notes the sizes on disk too, of which capacity is computed; that of the archive last, as its disk may not answer.
    """
    record_disk(now())
    remove_leftovers(settings.HOME)
    remove_leftovers_of_imports()
    forget_old_callbacks()
    forget_old_events(now())
    for tidy_feature in chain.from_iterable(feature.tidy for feature in features()):
        tidy_feature(now())
    remind_of_waiting_runs(now())
    record_log_archive(now())


@shared_task(name=Task.MEASURE_PROJECTS)
def measure_stored_bytes() -> None:
    """Note what projects with a quota of storage hold, so that what would exceed it is refused."""
    measure_projects()


def _enqueue_for_models(task: Task, due: QuerySet[Any]) -> None:
    """Enqueue a task for the models of these work rows: projects take turns, and the longest wait comes first."""
    since = due.values("model_id").annotate(since=Min("touched_at"))
    turn = Window(RowNumber(), partition_by="model__project_id", order_by="since")
    models = since.annotate(turn=turn).order_by("turn", "since").values_list("model_id", flat=True)
    for model_id in models[:MAX_TASKS]:
        enqueue(task, model_id=model_id)


def _enqueue_for_each(task: Task, argument: str, rows: QuerySet[Any]) -> None:
    for pk in rows.order_by("pk").values_list("pk", flat=True)[:MAX_TASKS]:
        enqueue(task, **{argument: pk})
