"""Celery's entry to the rules."""

from celery import shared_task

from driftline.base.work.advisory_locks import AdvisoryLock
from driftline.base.work.task_queue import Task
from driftline.base.work.work_rows import work_in_turns
from monitors.metrics.store.models import PendingEvaluation
from monitors.rules.judging.judge import judge


@shared_task(name=Task.JUDGE)
def judge_model(*, model_id: int) -> None:
    def judge_once() -> bool:
        judge(model_id)
        return False  # one pass judges all rules of a model

    due = PendingEvaluation.objects.filter(model_id=model_id).due()
    work_in_turns(Task.JUDGE, AdvisoryLock.JUDGE_TASK, model_id, judge_once, due)
