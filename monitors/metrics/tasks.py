"""Celery's entry to the metrics."""

from celery import shared_task

from monitors.metrics.services import measure


@shared_task(name="monitors.measure")
def measure_model(*, model_id: int) -> None:
    while measure(model_id):
        pass
