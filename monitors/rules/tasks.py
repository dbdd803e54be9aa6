"""Celery's entry to the rules."""

from celery import shared_task

from driftline.common.doorbell import ring
from driftline.common.work import work_alone
from monitors.metrics.models import PendingEvaluation
from monitors.rules.services import judge


@shared_task(name="monitors.judge")
def judge_model(*, model_id: int) -> None:
    def judge_all() -> bool:
        judge(model_id)
        return False  # one look at a model judges all its rules

    due = PendingEvaluation.objects.filter(model_id=model_id).due()
    wait = work_alone(7314, model_id, judge_all, due.exists)
    if wait is not None:
        ring("monitors.judge", pause=wait, model_id=model_id)
