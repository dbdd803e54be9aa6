"""The reader of each stream, and how it stands."""

from collections.abc import Mapping
from datetime import datetime

from monitors.sinks.models import Sink, StreamKind
from monitors.sinks.selectors import RATE_HOLDS, StreamStatus, settings_of, streams_of
from monitors.sinks.streams.events import EVENTS
from monitors.sinks.streams.labels import LABELS
from monitors.sinks.streams.points import POINTS
from monitors.sinks.streams.predictions import PREDICTIONS
from monitors.sinks.streams.stream import StreamReader

READERS: Mapping[str, StreamReader] = {
    StreamKind.PREDICTIONS: PREDICTIONS,
    StreamKind.LABELS: LABELS,
    StreamKind.METRICS: POINTS,
    StreamKind.EVENTS: EVENTS,
}


def statuses_of(sink: Sink, *, now: datetime) -> list[StreamStatus]:
    """Return how each stream of a sink stands."""
    settings, found = settings_of(sink), list[StreamStatus]()
    for stream in streams_of(sink):
        waiting = READERS[stream.kind].backlog(stream)
        behind = (now - waiting.since).total_seconds() if waiting.since else 0.0
        is_rated = stream.rated_at is not None and now - stream.rated_at < RATE_HOLDS
        found.append(
            StreamStatus(
                kind=StreamKind(stream.kind),
                topic=settings.topic(stream.kind),
                waiting=waiting.rows,
                behind_seconds=max(behind, 0.0),
                rows_per_second=stream.rows_per_second if is_rated else 0.0,
                sent=stream.sent,
                lost=stream.lost + waiting.lost,
                sent_at=stream.sent_at,
            )
        )
    return found
