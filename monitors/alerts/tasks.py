"""Celery's way into alerts."""

from celery import shared_task

from monitors.alerts import services


@shared_task(name="monitors.alert")
def alert(*, transition_id: int, **_: object) -> None:
    services.handle_transition(transition_id)


@shared_task(name="monitors.deliver")
def deliver(**_: object) -> None:
    services.send_due_deliveries()
