"""Connects the monitors to what the log sends where rows are stored, on a serving host too."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.dispatch import receiver

from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import PAUSE_SECONDS
from inference.prediction_log.signals import periods_touched, requests_counted
from monitors.summaries.services import measure_hours


@receiver(periods_touched)
def summarise_touched(*, model_id: int, **_: Any) -> None:
    enqueue(Task.SUMMARISE, pause_seconds=PAUSE_SECONDS, model_id=model_id)


@receiver(requests_counted)
def measure_counted(*, model_id: int, hours: Sequence[datetime], **_: Any) -> None:
    measure_hours(model_id=model_id, hours=hours)
