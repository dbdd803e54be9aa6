"""Celery's entry to the reports."""

from celery import shared_task

from monitors.reports import services


@shared_task(name="monitors.build_report")
def build_report(*, report_id: int) -> None:
    services.build_report(report_id)
