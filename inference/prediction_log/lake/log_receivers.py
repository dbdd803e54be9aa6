"""Connects the lake to the log: days that change are written again, and retention waits for those that are not."""

from collections.abc import Collection
from datetime import date
from typing import Any

from django.dispatch import receiver

from inference.prediction_log.lake import expiry
from inference.prediction_log.lake.days import close_days, note_changed_days
from inference.prediction_log.lake.selectors import find_lake
from inference.prediction_log.retention.hooks import close_expired, leave_by_lake, unwritten_days, write_soon
from inference.prediction_log.signals import days_changed, days_dropped
from inference.registry.models import Model

unwritten_days.provide(expiry.unwritten_days)
write_soon.provide(expiry.write_soon)
close_expired.provide(expiry.close_expired)
leave_by_lake.provide(lambda project: find_lake(project=project) is not None)


@receiver(days_changed)
def write_days(model: Model, days: Collection[date], **_: Any) -> None:
    note_changed_days(model, days)


@receiver(days_dropped)
def close_lake_files(model: Model, days: Collection[date], **_: Any) -> None:
    close_days(model.pk, days)
