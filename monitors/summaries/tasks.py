"""Celery's entry to the summaries."""

from celery import shared_task

from driftline.base.work.advisory_locks import AdvisoryLock
from driftline.base.work.task_queue import Task
from driftline.base.work.work_rows import work_in_turns
from inference.prediction_log.models import TouchedPeriod
from monitors.summaries.services import HOURS_A_TASK, summarise


@shared_task(name=Task.SUMMARISE)
def summarise_model(*, model_id: int) -> None:
    due = TouchedPeriod.objects.filter(model_id=model_id).due()
    work_in_turns(
        Task.SUMMARISE,
        AdvisoryLock.SUMMARISE_TASK,
        model_id,
        lambda: summarise(model_id) == HOURS_A_TASK,
        due,
    )
