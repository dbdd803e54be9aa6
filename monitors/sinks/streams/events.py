"""Events in the order of the feed: its numbers skip none, whichever order transactions commit in."""

import msgspec
from django.db.models import Count, Max, Min, Q

from driftline.base.accounts.models import Project
from monitors.feed.models import FeedEvent
from monitors.feed.schemas import FeedEventOut
from monitors.feed.selectors import events_after
from monitors.feed.services import number_events
from monitors.sinks.models import SinkStream
from monitors.sinks.streams.stream import Backlog, SinkBatch, StreamReader, message_of

MAX_EVENTS = 500


def next_batch(stream: SinkStream) -> SinkBatch | None:
    """Return the events after the last that was sent."""
    project = stream.sink.project
    found, _ = events_after(project=project, number=stream.position, limit=MAX_EVENTS)
    if not found:
        return None
    messages = [
        message_of(project, "", event.event_id, msgspec.structs.asdict(FeedEventOut.of(event)))
        for event in found
    ]

    def finish() -> int:
        last = found[-1].number
        SinkStream.objects.filter(pk=stream.pk, position__lt=last).update(position=last)
        return 0

    return SinkBatch(messages, finish)


def backlog(stream: SinkStream) -> Backlog:
    waiting = Q(number=None) | Q(number__gt=stream.position)
    found = FeedEvent.objects.filter(waiting, project=stream.sink.project)
    return Backlog(**found.aggregate(rows=Count("pk"), since=Min("at")))


def begin(stream: SinkStream) -> None:
    """Begin behind the newest event."""
    number_events()
    stream.position = FeedEvent.objects.aggregate(last=Max("number"))["last"] or 0
    stream.save(update_fields=["position"])


def end(project: Project) -> None:
    """Do nothing: the feed is kept for others."""


EVENTS = StreamReader(next_batch, backlog, begin, end)
