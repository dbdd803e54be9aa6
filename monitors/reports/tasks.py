"""Celery's entry to the reports."""

from celery import shared_task

from monitors.reports import building
from monitors.reports.models import TASK


@shared_task(
    name=TASK,
    soft_time_limit=building.PATIENCE_S,
    time_limit=building.PATIENCE_S + 30,
)
def build_report(*, report_id: int, **_: object) -> None:
    building.build(report_id)
