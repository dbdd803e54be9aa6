"""How far the sources of a model are behind, as a time."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import F, Max

from inference.prediction_log.queries.hooks import SourceLag
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.adapters import settings_of
from inference.registry.models import Model

UNREAD_AFTER = timedelta(minutes=3)
"""A source that no consumer has read for so long is behind, as nobody knows what waits there; consumers note it every
minute."""


def lag_of(model: Model, now: datetime) -> SourceLag | None:
    """Return how far the sources of a model are behind; None where none is to be read, or was long enough.

    A partition is behind for as long as messages wait in it, but no longer than the last one that was stored is old:
    where messages come all the time, some wait at any moment. A source that nobody reads is behind since it was read.
    """
    sources = Source.objects.filter(model=model, enabled=True, model__archived_at=None).order_by("name")
    lags = [
        SourceLag(source.name, _seconds_behind(source, now)) for source in sources if _is_known(source, now)
    ]
    return max(lags, key=lambda lag: lag.seconds, default=None)


def _is_known(source: Source, now: datetime) -> bool:
    """Return whether anything is known of a source: consumers may only be about to begin with a new one."""
    return source.read_at is not None or now - source.created_at > UNREAD_AFTER


def _seconds_behind(source: Source, now: datetime) -> float:
    since = min(_behind_since(source), default=now)
    read_at = max(source.read_at or source.created_at, source.created_at)
    if now - read_at > UNREAD_AFTER:
        since = min(since, read_at)
    return max((now - since).total_seconds(), 0.0)


def _behind_since(source: Source) -> Iterator[datetime]:
    settings = settings_of(source)
    newest = source.positions.aggregate(newest=Max("last_message_at"))["newest"]
    for position in source.positions.filter(end_offset__gt=F("next_offset")):
        if (since := position.behind_since) is not None and settings.reads(position.partition):
            yield max(since, position.last_message_at or newest or since)
