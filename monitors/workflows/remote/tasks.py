"""Celery entry points of training in pipelines of others."""

from celery import shared_task

from driftline.base.work.task_queue import Task
from monitors.workflows.remote import snapshot_store, stopping


@shared_task(name=Task.STOP_PIPELINE)
def stop_pipeline(*, training_id: int, **_: object) -> None:
    stopping.stop_pipeline(training_id)


@shared_task(name=Task.REMOVE_PARTS)
def remove_parts(*, training_id: int, **_: object) -> None:
    snapshot_store.remove_due_parts(training_id)
