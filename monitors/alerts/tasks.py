"""Celery's way into alerts."""

from celery import shared_task

from driftline.base.work.task_queue import Task
from monitors.alerts.incidents import handling
from monitors.alerts.incidents.late_causes import add_late_causes
from monitors.alerts.sending import catching_up, due_notifications, outbox


@shared_task(name=Task.ALERT)
def alert(*, transition_id: int, **_: object) -> None:
    handling.handle_transition(transition_id)


@shared_task(name=Task.NOTIFY)
def notify(**_: object) -> None:
    due_notifications.send_due_notifications()


@shared_task(name=Task.DELIVER)
def deliver(**_: object) -> None:
    outbox.send_due_deliveries()


@shared_task(name=Task.RANK_CAUSES)
def rank_causes(*, incident_id: int, **_: object) -> None:
    add_late_causes(incident_id)


@shared_task(name=Task.CATCH_UP)
def catch_up(*, channel_id: int, **_: object) -> None:
    catching_up.catch_up(channel_id)
