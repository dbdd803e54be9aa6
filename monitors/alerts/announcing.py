"""Messages about events of the feed: which channels take one, and its deliveries."""

from driftline.common.task_queue import Task, enqueue
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.callback import CALLBACK
from monitors.alerts.models import Channel
from monitors.alerts.notice import Notice
from monitors.alerts.outbox import write_delivery
from monitors.alerts.selectors import incident_of
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
    notice, thread = Notice.of(event), _thread_of(event)
    for channel in channels:
        write_delivery(
            channel=channel,
            event=event.kind,
            event_id=event.event_id,
            message=KINDS[channel.kind].compose_notice(notice, channel),
            incident=None,
            thread=thread,
        )
    enqueue(Task.DELIVER)


def _thread_of(event: FeedEvent) -> str:
    """Name what the messages about an event belong to: a run to the incident that started it, where one did."""
    transition_id = event.data.get("run", {}).get("transition")
    incident = incident_of(transition_id=transition_id) if transition_id else None
    return f"incident-{incident.pk}" if incident else event.subject


def _channels_taking(event: FeedEvent) -> list[Channel]:
    """List the enabled channels that take such events; a channel gets no message that it was disabled itself."""
    channels = Channel.objects.filter(project=event.project, enabled=True, events__contains=[event.kind])
    channels = channels.exclude(kind=CALLBACK).filter(kind__in=KINDS)
    if event.kind == CHANNEL_DISABLED:
        channels = channels.exclude(pk=event.data["channel"]["id"])
    return list(channels.select_related("project").order_by("pk"))
