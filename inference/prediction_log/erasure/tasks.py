"""Celery's entry to erasures."""

from celery import shared_task

from inference.prediction_log.erasure import services


@shared_task(name=services.TASK)
def go_on(*, erasure_id: int, **_: object) -> None:
    services.go_on(erasure_id)
