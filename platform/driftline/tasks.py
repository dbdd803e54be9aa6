"""The ticks: they ring for work that waits in PostgreSQL, in case the first ring was lost."""

from typing import Any

from celery import shared_task
from django.conf import settings
from django.db.models import Min, QuerySet, Window
from django.db.models.functions import Now, RowNumber

from driftline.accounts.audit_chain import oldest_unsealed, seal_entries
from driftline.common.clock import now
from driftline.common.doorbell import LONG_WORK, ring, ring_for_long_work
from driftline.common.work import touch
from driftline.long_slots import long_slot
from driftline.long_work import something_waits, work_on_next
from driftline.models import Heartbeat
from inference.prediction_log.imports.services import remove_leftovers as remove_leftovers_of_imports
from inference.prediction_log.models import TouchedPeriod
from inference.registry.artifacts import remove_leftovers
from monitors.alerts.job_callbacks import forget_old_callbacks
from monitors.alerts.models import Delivery
from monitors.metrics.models import PendingEvaluation
from monitors.reports.services import forget_old_reports
from monitors.rules.models import Transition
from monitors.rules.selectors import models_to_judge
from monitors.summaries.models import StaleWindow
from monitors.workflows.models import ACTIVE_STATES, Run, RunState
from monitors.workflows.steps.shadow import TRAFFIC

LONG_RINGS = 4  # a tick: as many more processes begin with long work, until all slots are taken
MAX_ENQUEUED_TASKS = 50  # a tick and kind: more than workers do by the next, so that rings never queue up


@shared_task(name="driftline.sweep")
def sweep() -> None:
    """Ring for what is due, the oldest first: what is left is rung for when that is done."""
    _ring_models("monitors.summarise", TouchedPeriod.objects.due(), most=MAX_ENQUEUED_TASKS)
    _ring_models("monitors.measure", StaleWindow.objects.due(), most=MAX_ENQUEUED_TASKS)
    _ring_models("monitors.judge", PendingEvaluation.objects.due(), most=MAX_ENQUEUED_TASKS)
    _ring_each("monitors.alert", "transition_id", Transition.objects.filter(alerts_done_at=None))
    _ring_each("monitors.workflow", "transition_id", Transition.objects.filter(workflows_done_at=None))
    _ring_each("monitors.advance", "run_id", Run.objects.filter(state__in=ACTIVE_STATES).due())
    if Delivery.objects.filter(state=Delivery.State.PENDING, next_attempt_at__lte=Now()).due().exists():
        ring("monitors.deliver")
    if oldest_unsealed() is not None:
        ring("driftline.seal_audit")

    if something_waits():
        for _ in range(LONG_RINGS):
            ring_for_long_work()


@shared_task(name=LONG_WORK)
def long_work(**_: object) -> None:
    """Go on with the long work that is next, unless this worker does as much of it as it may, and ring for more."""
    with long_slot() as is_free:
        has_worked = is_free and work_on_next()
    if has_worked and something_waits():
        ring_for_long_work()


@shared_task(name="driftline.close_windows")
def close_windows() -> None:
    """Let rules look again where a window has closed or ripened by time alone, or where a run waits for rows."""
    waiting = Run.objects.filter(state=RunState.WAITING, needs=TRAFFIC).values_list("model_id", flat=True)
    models = models_to_judge(now()).union(waiting)
    touch(PendingEvaluation, [(pk,) for pk in models], fields=("model_id",))
    _ring_models("monitors.judge", PendingEvaluation.objects.due(), most=MAX_ENQUEUED_TASKS)


@shared_task(name="driftline.seal_audit")
def seal_audit() -> None:
    """Give audit entries their place in the chain where that failed when they were written."""
    seal_entries()


@shared_task(name="driftline.heartbeat")
def heartbeat() -> None:
    """Prove that ticks are not only sent but consumed."""
    Heartbeat.objects.update_or_create(name="worker", defaults={"at": now()})


@shared_task(name="driftline.tidy")
def tidy() -> None:
    """Remove what killed uploads and imports left behind, callbacks that were settled long ago, and old reports."""
    remove_leftovers(settings.HOME)
    remove_leftovers_of_imports()
    forget_old_callbacks()
    forget_old_reports(now())


def _ring_models(task: str, due: QuerySet[Any], *, most: int | None = None) -> None:
    """Ring for the models of these work rows, in turns of the projects, those first that have waited longest."""
    since = due.values("model_id").annotate(since=Min("touched_at"))
    turn = Window(RowNumber(), partition_by="model__project_id", order_by="since")
    models = since.annotate(turn=turn).order_by("turn", "since").values_list("model_id", flat=True)
    for model_id in models[:most]:
        ring(task, model_id=model_id)


def _ring_each(task: str, argument: str, rows: QuerySet[Any]) -> None:
    for pk in rows.order_by("pk").values_list("pk", flat=True)[:MAX_ENQUEUED_TASKS]:
        ring(task, **{argument: pk})
