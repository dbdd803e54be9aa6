"""Which messages about incidents wait for others, where a route says `group_by`, and until when.

The messages of each incident are written as ever, and wait for the group: the first one shortly, so that what happens
at the same time is said with it, the next ones until `group_interval` after it. What is due of a group is then joined
in the outbox: see `joining.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256

from django.db.models import Min

from monitors.alerts.channels import KINDS
from monitors.alerts.channels.base import GroupingKind
from monitors.alerts.joint_messages.joining import ALL
from monitors.alerts.models import MUTED_UNTIL, Channel, Delivery, Incident
from monitors.alerts.routing.tree import AlertRoute
from monitors.alerts.sending.recipients import labels_of, recipients_of
from monitors.alerts.stored_routing import routing_of

GATHERING = timedelta(seconds=10)
"""For how long the first message of a group waits for others. Moments are rounded up to it, so that workers that write
at the same time come to the same one."""

_MAX_NAME = 400


@dataclass(frozen=True)
class MessageGroup:
    """What incidents share that are said in one message, in words, the least time between two such messages, and the
    route that sends them, where one does still."""

    name: str
    interval: timedelta
    route: AlertRoute | None = None


def groups_of(incident: Incident) -> dict[int, MessageGroup]:
    """Return by channel the group of an incident; a channel that is not there gets messages about it alone.

    Where a message about the incident waits already, later ones are of its group too, so that none overtakes it.
    """
    waiting = incident.deliveries.filter(state=Delivery.State.PENDING, attempts_made=0).exclude(group="")
    found = {
        channel_id: MessageGroup(name, timedelta(seconds=seconds))
        for channel_id, name, seconds in waiting.values_list("channel_id", "group", "group_seconds")
    }
    if all(route.group_by is None for route in routing_of(incident.project).tree.list_routes()):
        return found
    labels = labels_of(incident)
    routed = {
        one.channel.pk: _group_on(one.route, labels)
        for one in recipients_of(incident)
        if one.route.group_by is not None and _takes_groups(one.channel)
    }
    return routed | {
        key: replace(group, route=one.route if (one := routed.get(key)) else None)
        for key, group in found.items()
    }


def _group_on(route: AlertRoute, labels: Mapping[str, str]) -> MessageGroup:
    name = ", ".join(_described(label, labels.get(label, "")) for label in route.group_by or ()) or ALL
    if len(name) > _MAX_NAME:
        name = f"{name[:_MAX_NAME]}... {sha256(name.encode()).hexdigest()[:12]}"
    return MessageGroup(name, route.group_interval, route)


def _described(label: str, value: str) -> str:
    value = value.strip(",")  # tags have one at each end
    return f"{label}={value}" if value else f"no {label}"


def due_of_group(channel: Channel, group: MessageGroup, *, at: datetime) -> datetime:
    """Return when the next message of a group is due at a channel, by the database's clock: not in muted hours."""
    written = Delivery.objects.filter(channel=channel, group=group.name)
    waiting = written.filter(state=Delivery.State.PENDING, attempts_made=0, next_attempt_at__gt=at)
    waiting = waiting.exclude(reason__startswith=MUTED_UNTIL)
    together: datetime | None = waiting.aggregate(first=Min("next_attempt_at"))["first"]
    if together is not None:
        return together
    sent = written.exclude(sent_at=None).order_by("-sent_at").values_list("sent_at", flat=True).first()
    gathered = _rounded_up(at + GATHERING)
    due = gathered if sent is None else max(gathered, sent + group.interval)
    return (group.route.next_open(due) if group.route else None) or due


def _takes_groups(channel: Channel) -> bool:
    kind = KINDS.get(channel.kind)
    return kind.takes_groups(channel) if isinstance(kind, GroupingKind) else False


def _rounded_up(moment: datetime) -> datetime:
    length = GATHERING.total_seconds()
    return datetime.fromtimestamp(-(-moment.timestamp() // length) * length, moment.tzinfo)
