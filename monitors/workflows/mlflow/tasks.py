"""Celery entry point of connections to MLflow."""

from celery import shared_task

from driftline.base.work.task_queue import Task
from monitors.workflows.mlflow import following


@shared_task(name=Task.POLL_MLFLOW)
def poll_mlflow(*, connection_id: int, **_: object) -> None:
    following.poll(connection_id)
