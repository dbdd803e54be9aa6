"""Joins the messages of a group that are due into one."""

import logging
from datetime import timedelta
from hashlib import sha256

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.work.advisory_locks import AdvisoryLock, lock
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.base import GroupingKind
from monitors.alerts.joint_messages.incident_group import IncidentGroup
from monitors.alerts.models import Delivery

log = logging.getLogger(__name__)

GROUPED = "incidents.grouped"
"""The event of a message about several incidents."""

ALL = "all"
"""The group of incidents that need to share nothing."""

MAX_MEMBERS = 500
RECHECK = timedelta(seconds=10)
"""After which a message is looked at again that came due while another one of its group was being sent."""


def join_group(claimed: Delivery, *, event_id: str) -> Delivery | None:
    """Join what else is due of the group of a leased delivery into one message, in the caller's transaction; return
    the delivery to send, which holds the lease, or None where it is too early for another message of the group.

    Several messages about one incident become the newest of them. What was tried already is sent as it was, and what
    cannot be joined is sent by itself.
    """
    if not claimed.group or claimed.incident_id is None or claimed.attempts_made:
        return claimed
    try:
        with transaction.atomic():
            lock(AdvisoryLock.MESSAGE_GROUP, claimed.channel_id)
            return None if _is_put_off(claimed) else _joined(claimed, event_id)
    except Exception:
        log.exception("messages not joined", extra={"delivery": claimed.pk})
        return claimed


def _is_put_off(claimed: Delivery) -> bool:
    """Make a message wait on, without its lease, where another one of its group is under way or was sent lately."""
    others = Delivery.objects.filter(channel=claimed.channel_id, group=claimed.group).exclude(pk=claimed.pk)
    interval = timedelta(seconds=claimed.group_seconds)
    comes_soon = Q(attempts_made__gt=0, next_attempt_at__lte=Now() + interval)
    under_way = others.filter(Q(lease_until__gt=Now()) | comes_soon, state=Delivery.State.PENDING)
    lately = others.filter(sent_at__gt=Now() - interval).order_by("-sent_at")
    last = lately.values_list("sent_at", flat=True).first()
    if last is None and not under_way.exists():
        return False
    Delivery.objects.filter(pk=claimed.pk).update(
        next_attempt_at=Now() + RECHECK if last is None else last + interval,
        lease_until=None,
        lease_token=None,
    )
    return True


def _joined(claimed: Delivery, event_id: str) -> Delivery:
    others = Delivery.objects.filter(
        channel=claimed.channel_id,
        group=claimed.group,
        state=Delivery.State.PENDING,
        attempts_made=0,
        next_attempt_at__lte=Now(),
    )
    others = others.exclude(pk=claimed.pk).exclude(incident=None).due().order_by("pk")
    picked = list(others.select_for_update(skip_locked=True).values_list("pk", flat=True)[:MAX_MEMBERS])
    if not picked:
        return claimed
    members = Delivery.objects.filter(pk__in=[claimed.pk, *picked])
    deliveries = list(members.select_related("incident__project").order_by("pk"))
    incidents = len({delivery.incident_id for delivery in deliveries})
    carrier = deliveries[-1] if incidents == 1 else _carrier(claimed, deliveries, event_id)
    Delivery.objects.filter(pk=carrier.pk).update(
        lease_until=claimed.lease_until, lease_token=claimed.lease_token
    )
    described = "A newer message says it" if incidents == 1 else f"In one message about {incidents} incidents"
    members.exclude(pk=carrier.pk).update(
        state=Delivery.State.GROUPED, reason=described, sent_with=carrier, lease_until=None, lease_token=None
    )
    return carrier


def _carrier(claimed: Delivery, deliveries: list[Delivery], event_id: str) -> Delivery:
    """Write the message about several incidents."""
    channel, kind = claimed.channel, KINDS[claimed.channel.kind]
    if not isinstance(kind, GroupingKind):
        raise TypeError(f"{channel.kind} takes no groups")
    labels = "" if claimed.group == ALL else claimed.group
    message = kind.compose_group(IncidentGroup.of(channel.project, labels, deliveries), channel)
    return Delivery.objects.create(
        channel=channel,
        thread=f"group-{sha256(f'{channel.pk} {claimed.group}'.encode()).hexdigest()[:16]}",
        group=claimed.group,
        group_seconds=claimed.group_seconds,
        event=GROUPED,
        event_id=event_id,
        subject=message.subject[:200],
        body=message.body,
        html=message.html,
    )
