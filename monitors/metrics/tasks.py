"""Celery's entry to the metrics."""

from celery import shared_task

from driftline.common.work import work_alone
from monitors.metrics.services import measure
from monitors.summaries.models import StaleWindow


@shared_task(name="monitors.measure")
def measure_model(*, model_id: int) -> None:
    due = StaleWindow.objects.filter(model_id=model_id).due()
    work_alone(7313, model_id, lambda: measure(model_id), due.exists)
