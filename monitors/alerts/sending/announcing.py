"""Messages about events of the feed: which channels take one, and its deliveries."""

import logging

from django.db import transaction

from driftline.base.work.attempts import DATABASE_FAULTS
from driftline.base.work.task_queue import Task, enqueue
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.callback import CALLBACK
from monitors.alerts.incidents.rollbacks import close_incidents, open_incident
from monitors.alerts.models import Channel, Incident
from monitors.alerts.selectors import incident_of
from monitors.alerts.sending.notice import Notice
from monitors.alerts.sending.outbox import write_delivery
from monitors.alerts.sending.recipients import recipients_of
from monitors.feed.kinds import CHANNEL_DISABLED, RUN_PROMOTED, RUN_ROLLED_BACK
from monitors.feed.kinds import KINDS as EVENTS
from monitors.feed.models import FeedEvent

log = logging.getLogger(__name__)


def announce(event: FeedEvent) -> None:
    """Write the message about an event to each channel that takes such events, in the caller's transaction.

    What a run rolled back is an incident: channels that this goes to are notified of it alone.
    """
    if event.kind not in EVENTS:
        return  # incidents have messages of their own
    incident = _change_incidents(event)
    known = {one.channel for one in recipients_of(incident) if not one.escalates} if incident else set()
    channels = [channel for channel in _channels_taking(event) if channel not in known]
    if not channels:
        return
    notice, thread = Notice.of(event), f"incident-{incident.pk}" if incident else _thread_of(event)
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


def _change_incidents(event: FeedEvent) -> Incident | None:
    """Open the incident of what a run rolled back, and return it, or close those that a promotion ends.

    Where that fails, the rollback or the promotion stands, and its event is announced.
    """
    try:
        with transaction.atomic():
            if event.kind == RUN_PROMOTED:
                close_incidents(event)
            return open_incident(event) if event.kind == RUN_ROLLED_BACK else None
    except DATABASE_FAULTS:
        raise
    except Exception:
        log.exception("incidents not changed by a run", extra={"event": event.event_id})
        return None


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
