"""Celery's entry to the rules."""

from celery import shared_task

from monitors.rules.services import judge


@shared_task(name="monitors.judge")
def judge_model(*, model_id: int) -> None:
    while judge(model_id):
        pass
