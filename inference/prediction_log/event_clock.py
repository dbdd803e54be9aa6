"""The time that windows, rules and cooldowns are judged in: that of the events, not of the machine."""

from datetime import datetime

from inference.prediction_log.selectors import newest_arrival
from inference.registry.models import Model


def event_now(*, model: Model, now: datetime) -> datetime:
    """Tell how far event time has come: the newest event, plus the wall time since it arrived.

    For live traffic this is the wall clock; while history is sent day by day it stands at the newest event.
    """
    newest, arrived = newest_arrival(model)
    if newest is None or arrived is None:
        return now
    return min(now, newest + (now - arrived))
