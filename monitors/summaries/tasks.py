"""Celery's entry to the summaries."""

from celery import shared_task

from driftline.common.doorbell import ring
from driftline.common.work import work_alone
from inference.prediction_log.models import TouchedPeriod
from monitors.summaries.services import HOURS_A_TASK, summarise


@shared_task(name="monitors.summarise")
def summarise_model(*, model_id: int) -> None:
    due = TouchedPeriod.objects.filter(model_id=model_id).due()
    wait = work_alone(7312, model_id, lambda: summarise(model_id) == HOURS_A_TASK, due.exists)
    if wait is not None:
        ring("monitors.summarise", pause=wait, model_id=model_id)
