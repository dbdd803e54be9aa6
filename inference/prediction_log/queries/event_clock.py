"""The time that windows, rules and cooldowns are judged in: that of the events, not of the machine."""

from datetime import datetime

from django.db.models import QuerySet

from inference.prediction_log.queries.selectors import Arrival, newest_arrival, newest_arrivals
from inference.registry.models import Model


def event_now(*, model: Model, now: datetime) -> datetime:
    """Return how far event time has come: the newest event, plus the wall time since it arrived.

    For live traffic this is the wall clock; while history is sent day by day it stands at the newest event.
    """
    return _after(newest_arrival(model), now)


def event_nows(*, models: QuerySet[Model], now: datetime) -> dict[int, datetime]:
    """Return of each of these models at once how far its event time has come, by its id."""
    return {pk: _after(arrival, now) for pk, arrival in newest_arrivals(models).items()}


def _after(arrival: Arrival, now: datetime) -> datetime:
    newest, arrived = arrival
    if newest is None or arrived is None:
        return now
    return min(now, newest + (now - arrived))
