"""Celery's entry to the rules."""

from celery import shared_task

from driftline.common.work import work_alone
from monitors.metrics.models import PendingEvaluation
from monitors.rules.services import judge


@shared_task(name="monitors.judge")
def judge_model(*, model_id: int) -> None:
    due = PendingEvaluation.objects.filter(model_id=model_id).due()
    work_alone(7314, model_id, lambda: judge(model_id), due.exists)
