"""Celery's entry to the metrics."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from celery import shared_task

from driftline.base.clock import now
from driftline.base.work.advisory_locks import AdvisoryLock
from driftline.base.work.attempts import DATABASE_FAULTS
from driftline.base.work.task_queue import Task
from driftline.base.work.work_rows import work_in_turns
from inference.registry.models import Model
from monitors.metrics.services import WINDOWS_A_TASK, measure
from monitors.metrics.store.expiry import expire_null_draws, expire_summaries, roll_up
from monitors.metrics.traffic.source_lag import measure_lag, models_with_sources
from monitors.metrics.traffic.volume import measure_ended, models_with_ended_windows
from monitors.summaries.models import StaleWindow

log = logging.getLogger(__name__)


@shared_task(name=Task.MEASURE)
def measure_model(*, model_id: int) -> None:
    due = StaleWindow.objects.filter(model_id=model_id).due()
    work_in_turns(
        Task.MEASURE,
        AdvisoryLock.MEASURE_TASK,
        model_id,
        lambda: measure(model_id) == WINDOWS_A_TASK,
        due,
    )


@shared_task(name=Task.MEASURE_ENDED)
def measure_what_ended() -> None:
    """Measure the volume of hours that ended, also of models that log nothing any more, and the lag of sources."""
    moment = now()
    for model in models_with_ended_windows(moment):
        with other_models_go_on(model, "ended windows not measured"):
            measure_ended(model, moment)
    for model in models_with_sources():
        with other_models_go_on(model, "lag of sources not measured"):
            measure_lag(model, moment)


@shared_task(name=Task.EXPIRE_SUMMARIES)
def expire() -> None:
    """Delete summaries, points and draws that nobody keeps any more, and hours and days that longer ones hold."""
    moment = now()
    for model in Model.objects.order_by("pk"):
        with other_models_go_on(model, "summaries not expired"):
            expire_summaries(model, moment)
            expire_null_draws(model, moment)
            roll_up(model, moment)


@contextmanager
def other_models_go_on(model: Model, message: str) -> Iterator[None]:
    """Log what fails with one model, so that the others get their turn; a fault of the database is raised."""
    try:
        yield
    except DATABASE_FAULTS:
        raise
    except Exception:
        log.exception(message, extra={"model": model.pk})
