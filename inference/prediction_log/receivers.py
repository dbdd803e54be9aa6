"""What the log does when a model or its deployment changes, in the transaction of the change."""

from typing import Any

from django.dispatch import receiver

from inference.prediction_log.queries.selectors import newest_event
from inference.prediction_log.retention.drop_rows import request_look_at_stored_days, start_dropping
from inference.prediction_log.spool.privacy import SUMMARY
from inference.registry.models import DeploymentChange, Model
from inference.registry.signals import deployment_changed, privacy_changed, rows_no_longer_kept


@receiver(rows_no_longer_kept)
def drop_rows(model: Model, **_: Any) -> None:
    start_dropping(model)


@receiver(privacy_changed)
def drop_values(model: Model, **_: Any) -> None:
    if SUMMARY in model.privacy.values():
        request_look_at_stored_days(model)


@receiver(deployment_changed)
def mark_in_event_time(change: DeploymentChange, **_: Any) -> None:
    """Put the mark of the change at the newest event: charts show event time, which may be far from the clock."""
    newest = newest_event(change.model)
    if newest is not None:
        change.event_time = newest
        change.save(update_fields=["event_time"])
