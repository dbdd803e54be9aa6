"""Celery's entry to the optimiser."""

from celery import shared_task

from monitors.optimiser import services, work


@shared_task(name=services.TASK)
def go_on(*, optimisation_id: int, **_: object) -> None:
    work.go_on(optimisation_id)
