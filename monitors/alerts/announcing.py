"""Messages about events of the feed: which channels take one, and its deliveries."""

from driftline.common.task_queue import Task, enqueue
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.callback import CALLBACK
from monitors.alerts.models import Channel
from monitors.alerts.notice import Notice
from monitors.alerts.outbox import write_delivery
from monitors.feed.kinds import CHANNEL_DISABLED
from monitors.feed.kinds import KINDS as EVENTS
from monitors.feed.models import FeedEvent


def announce(event: FeedEvent) -> None:
    """Write the message about an event to each channel that takes such events, in the caller's transaction."""
    if event.kind not in EVENTS:
        return  # incidents have messages of their own
    channels = _channels_taking(event)
    if not channels:
        return
    notice = Notice.of(event)
    for channel in channels:
        write_delivery(
            channel=channel,
            event=event.kind,
            event_id=event.event_id,
            message=KINDS[channel.kind].compose_notice(notice, channel),
            incident=None,
            thread=event.subject,
        )
    enqueue(Task.DELIVER)


def _channels_taking(event: FeedEvent) -> list[Channel]:
    """List the enabled channels that take such events; a channel is not told that it was disabled itself."""
    channels = Channel.objects.filter(project=event.project, enabled=True, events__contains=[event.kind])
    channels = channels.exclude(kind=CALLBACK).filter(kind__in=KINDS)
    if event.kind == CHANNEL_DISABLED:
        channels = channels.exclude(pk=event.data["channel"]["id"])
    return list(channels.select_related("project").order_by("pk"))
