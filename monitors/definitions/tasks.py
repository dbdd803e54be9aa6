"""Celery's entry to the references."""

from celery import shared_task

from monitors.definitions import services


@shared_task(name="monitors.build_reference")
def build_reference(*, reference_id: int) -> None:
    services.build_reference(reference_id)
