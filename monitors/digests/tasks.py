"""Celery's way into digests."""

from celery import shared_task

from driftline.base.clock import now
from driftline.base.work.task_queue import Task
from monitors.digests.sending import send_due_digests


@shared_task(name=Task.SEND_DIGESTS)
def send_digests() -> None:
    send_due_digests(now())
