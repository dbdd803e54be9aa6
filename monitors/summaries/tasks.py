"""Celery's entry to the summaries."""

from celery import shared_task

from monitors.summaries.services import summarise


@shared_task(name="monitors.summarise")
def summarise_model(*, model_id: int) -> None:
    while summarise(model_id):
        pass
