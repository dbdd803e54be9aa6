"""Celery entry points of workflows."""

from celery import shared_task

from monitors.workflows import engine, services

TRAINING_LIMIT_S = 800


@shared_task(name="monitors.workflow")
def workflow(*, transition_id: int, **_: object) -> None:
    services.handle_transition(transition_id)


@shared_task(name="monitors.advance", soft_time_limit=TRAINING_LIMIT_S - 20, time_limit=TRAINING_LIMIT_S)
def advance(*, run_id: int, **_: object) -> None:
    engine.advance(run_id=run_id)
