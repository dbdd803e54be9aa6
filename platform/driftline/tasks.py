"""The ticks: they ring for work that waits in PostgreSQL, in case the first ring was lost."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now

from driftline.common.clock import now
from driftline.common.doorbell import ring
from driftline.common.work import touch
from driftline.models import Heartbeat
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.imports.models import UNFINISHED, Import
from inference.prediction_log.imports.services import remove_leftovers as remove_leftovers_of_imports
from inference.prediction_log.models import TouchedPeriod
from inference.registry.artifacts import remove_leftovers
from monitors.alerts.job_callbacks import forget_old_callbacks
from monitors.alerts.models import Delivery
from monitors.definitions.models import Reference
from monitors.metrics.models import JointDay, PendingEvaluation
from monitors.optimiser.models import UNFINISHED as UNFINISHED_OPTIMISATIONS
from monitors.optimiser.models import Optimisation
from monitors.reports.models import Report
from monitors.rules.models import Rule, Transition
from monitors.summaries.models import StaleWindow
from monitors.workflows.models import ACTIVE_STATES, Run

PATIENCE = timedelta(minutes=2)  # work without a lease is rung for again when it should long be done


@shared_task(name="driftline.sweep")
def sweep() -> None:
    """Ring for everything that is due."""
    _ring_each(
        "inference.import", "import_id", Import.objects.filter(state__in=UNFINISHED, is_upload=True).due()
    )
    _ring_each("inference.erase", "erasure_id", Erasure.objects.exclude(state=Erasure.State.DONE).due())
    _ring_models("monitors.summarise", TouchedPeriod.objects.due())
    _ring_models("monitors.measure", StaleWindow.objects.due())
    _ring_models("monitors.judge", PendingEvaluation.objects.due())
    _ring_models(
        "monitors.compare_jointly", JointDay.objects.filter(lease_until__lt=Now())
    )  # left by a dead worker
    _ring_each("monitors.alert", "transition_id", Transition.objects.filter(alerts_done_at=None))
    _ring_each("monitors.workflow", "transition_id", Transition.objects.filter(workflows_done_at=None))
    _ring_each("monitors.advance", "run_id", Run.objects.filter(state__in=ACTIVE_STATES).due())
    _ring_each(
        "monitors.build_reference", "reference_id", Reference.objects.filter(state=Reference.State.BUILDING)
    )
    _ring_each(
        "monitors.optimise",
        "optimisation_id",
        Optimisation.objects.filter(state__in=UNFINISHED_OPTIMISATIONS).due(),
    )
    _ring_each("monitors.build_report", "report_id", Report.objects.filter(state=Report.State.QUEUED))
    if Delivery.objects.filter(state=Delivery.State.PENDING, next_attempt_at__lte=Now()).due().exists():
        ring("monitors.deliver")


@shared_task(name="driftline.close_windows")
def close_windows() -> None:
    """Let rules look again: windows close and ripen by time alone."""
    models = Rule.objects.filter(enabled=True).values_list("model_id", flat=True).distinct()
    touch(PendingEvaluation, [(pk,) for pk in models], fields=("model_id",))
    _ring_models("monitors.judge", PendingEvaluation.objects.due())


@shared_task(name="driftline.heartbeat")
def heartbeat() -> None:
    """Prove that ticks are not only sent but consumed."""
    Heartbeat.objects.update_or_create(name="worker", defaults={"at": now()})


@shared_task(name="driftline.tidy")
def tidy() -> None:
    """Remove what killed uploads and imports left behind, and callbacks that were settled long ago.

    Days of models that fell silent are compared by now at the latest: else the next event rings.
    """
    remove_leftovers(settings.HOME)
    remove_leftovers_of_imports()
    forget_old_callbacks()
    _ring_models("monitors.compare_jointly", JointDay.objects.ended(now()).due())


def _ring_models(task: str, due: QuerySet[Any]) -> None:
    for model_id in set(due.values_list("model_id", flat=True)):
        ring(task, model_id=model_id)


def _ring_each(task: str, argument: str, rows: Iterable[Any]) -> None:
    for row in rows:
        ring(task, **{argument: row.pk})
