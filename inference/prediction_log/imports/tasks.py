"""Celery's entry to imports."""

from celery import shared_task

from inference.prediction_log.imports import services


@shared_task(name=services.TASK)
def go_on(*, import_id: int, **_: object) -> None:
    services.go_on(import_id)
