"""Connects the log to the signals and hooks of the registry: what it does in the transaction of a change."""

from typing import Any

from django.dispatch import receiver

from inference.prediction_log.queries.canary_split import describe_split, split_of
from inference.prediction_log.queries.selectors import newest_event
from inference.prediction_log.retention.drop_rows import request_look_at_stored_days, start_dropping
from inference.prediction_log.spool.privacy import SUMMARY
from inference.registry import hooks
from inference.registry.models import Model
from inference.registry.signals import privacy_changed, rows_no_longer_kept

hooks.newest_event.provide(newest_event)
hooks.describe_canary_split.provide(lambda deployment: describe_split(deployment, split_of(deployment)))


@receiver(rows_no_longer_kept)
def drop_rows(model: Model, **_: Any) -> None:
    start_dropping(model)


@receiver(privacy_changed)
def drop_values(model: Model, **_: Any) -> None:
    if SUMMARY in model.privacy.values():
        request_look_at_stored_days(model)
