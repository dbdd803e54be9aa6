"""The outbox: deliveries are rows, written with the change that caused them; a worker leases, sends, marks.

The lease ends if the worker dies between sending and marking, and the message is sent again under the same
event id: each one arrives at least once, and receivers can tell a repetition.
"""

import logging
import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Min
from django.db.models.functions import Greatest, Now

from driftline.base.accounts.turns import in_turn, take_turn
from driftline.base.ids import new_id
from driftline.base.work.task_queue import Task, enqueue
from driftline.base.work.work_rows import WorkQuerySet
from inference.registry.plan.publishing import publish_on_commit
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.base import DeliveryFailed, DeliveryPostponed, Message, Receipt
from monitors.alerts.channels.callback import CALLBACK
from monitors.alerts.channels.masking import without_acts, without_target
from monitors.alerts.joint_messages.joining import join_group
from monitors.alerts.models import Channel, Delivery, DeliveryAttempt, Incident
from monitors.alerts.story import TEST
from monitors.feed.kinds import CHANNEL_DISABLED
from monitors.feed.services import record_event

log = logging.getLogger(__name__)

RETRY_AFTER = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=10),
)
JITTER = 0.2
LANE = "deliveries"
MAX_BATCH_DELIVERIES = 50
TURN_SECONDS = 30.0


def make_event_id(cause: str = "") -> str:
    """Name an event by the id of its only cause, so that it cannot be written twice, or by a new id."""
    return f"evt_{(cause or new_id()).replace('-', '')}"


@dataclass(frozen=True)
class Delay:
    """Until when a message waits, by the database's clock, and why; with a `group` it becomes one with what is due of
    the same group then, `group_seconds` after the message before it at the earliest."""

    next_attempt_at: datetime
    reason: str
    group: str = ""
    group_seconds: int = 0


def write_delivery(
    *,
    channel: Channel,
    event: str,
    event_id: str,
    message: Message,
    incident: Incident | None,
    withheld: str = "",
    delay: Delay | None = None,
    thread: str = "",
) -> Delivery:
    """Store a message in the caller's transaction; the caller enqueues it.

    `withheld` says why it is not sent, and `delay` what it waits for. Messages about the same `incident` or `thread`
    belong together.
    """
    return Delivery.objects.create(
        channel=channel,
        incident=incident,
        thread=thread,
        event=event,
        event_id=event_id,
        subject=message.subject[:200],
        body=message.body,
        html=message.html,
        state=Delivery.State.SUPPRESSED if withheld else Delivery.State.PENDING,
        **({"reason": withheld[:500]} if withheld else asdict(delay) if delay else {}),
    )


def requeue(delivery: Delivery) -> None:
    """Make a delivery due again from the first attempt on, with the same event id and body, and by itself."""
    Delivery.objects.filter(pk=delivery.pk).update(
        state=Delivery.State.PENDING,
        reason="",
        attempts_made=0,
        next_attempt_at=Now(),
        sent_at=None,
        sent_with=None,
        group="",
    )
    delivery.refresh_from_db()
    enqueue(Task.DELIVER)


def withhold_pending(channel: Channel, *, reason: str) -> None:
    """Take the waiting deliveries of a channel out of the queue, and what they say for others; they stay and can be
    replayed."""
    waiting = channel.deliveries.filter(state=Delivery.State.PENDING)
    grouped = channel.deliveries.filter(sent_with__in=list(waiting.values_list("pk", flat=True)))
    for rows in (grouped, waiting):
        rows.update(state=Delivery.State.SUPPRESSED, reason=reason)


def send_due_deliveries(limit: int = MAX_BATCH_DELIVERIES) -> int:
    """Send up to `limit` deliveries whose time has come, and tell how many were tried.

    One is leased at a time, so that a slow receiver holds up nothing that another worker could send, and after
    `TURN_SECONDS` other tasks have their turn.
    """
    tried, until = 0, time.monotonic() + TURN_SECONDS
    while tried < limit and time.monotonic() < until:
        claimed = claim_delivery()
        if claimed is None:
            return tried
        finish_attempt(claimed, attempt(claimed))
        tried += 1
    enqueue(Task.DELIVER)
    return tried


@dataclass(frozen=True)
class AttemptOutcome:
    """What one attempt came to; `failure` is None when the receiver took the message."""

    duration_ms: int
    receipt: Receipt
    failure: DeliveryFailed | None


def claim_delivery() -> Delivery | None:
    """Lease the next due delivery of an enabled channel: projects take turns, and callbacks go last, for there may be
    many.
    """
    due = Delivery.objects.filter(
        state=Delivery.State.PENDING,
        next_attempt_at__lte=Now(),
        channel__in=Channel.objects.filter(enabled=True).values("pk"),
    )
    callbacks = Channel.objects.filter(kind=CALLBACK).values("pk")
    for rows in (due.exclude(channel__in=callbacks), due.filter(channel__in=callbacks)):
        for project_id in _projects_in_turn(rows):
            if (claimed := _claim(rows.filter(channel__project=project_id))) is not None:
                take_turn(LANE, project_id)
                return Delivery.objects.select_related("channel").get(pk=claimed.pk)
    return None


def _claim(rows: WorkQuerySet[Any]) -> Delivery | None:
    """Lease the first of some rows, with what is joined to it; those that have to wait on are left out."""
    while True:
        with transaction.atomic():
            claimed: list[Delivery] = rows.claim(limit=1)
            if not claimed:
                return None
            joined = join_group(claimed[0], event_id=make_event_id())
        if joined is not None:
            return joined


def _projects_in_turn(rows: WorkQuerySet[Any]) -> list[int]:
    """Order the projects of which some of `rows` is due, the next one first."""
    path = "channel__project_id"
    waiting = dict(rows.due().values(path).annotate(since=Min("next_attempt_at")).values_list(path, "since"))
    if len(waiting) < 2:
        return list(waiting)
    leased = Delivery.objects.filter(state=Delivery.State.PENDING, lease_until__gt=Now())
    return in_turn(LANE, waiting, Counter(leased.values_list(path, flat=True)))


def attempt(delivery: Delivery) -> AttemptOutcome:
    """Send a leased delivery, outside any transaction."""
    started = time.monotonic()
    try:
        receipt, failure = KINDS[delivery.channel.kind].send(delivery), None
    except DeliveryFailed as error:
        receipt, failure = Receipt(error.status, str(error)), error
    except Exception as error:  # a fault of ours in one channel must not stop the others
        log.exception("delivery attempt broke", extra={"delivery": delivery.pk})
        receipt, failure = Receipt(None, repr(error)), DeliveryFailed(f"internal_error: {error!r}")
    return AttemptOutcome(round((time.monotonic() - started) * 1000), receipt, failure)


def finish_attempt(delivery: Delivery, outcome: AttemptOutcome) -> None:
    """Mark what an attempt came to, unless the lease was lost: then its new holder sends and marks.

    A postponed message was not tried, so that is no attempt.
    """
    if isinstance(outcome.failure, DeliveryPostponed):
        _postpone(delivery, outcome.failure)
        return
    with transaction.atomic():
        made = delivery.attempts_made + 1
        held = Delivery.objects.filter(pk=delivery.pk, lease_token=delivery.lease_token)
        if not held.update(attempts_made=made, lease_until=None, lease_token=None):
            return
        DeliveryAttempt.objects.create(
            delivery=delivery,
            succeeded=outcome.failure is None,
            status=outcome.receipt.status,
            duration_ms=outcome.duration_ms,
            answer=_storable(outcome.receipt.answer, delivery.channel)[:1024],
        )
        _mark(delivery, outcome, attempts_made=made)


def _postpone(delivery: Delivery, postponed: DeliveryPostponed) -> None:
    """Look at a message again shortly after the one that comes first is due, unless the lease was lost."""
    Delivery.objects.filter(pk=delivery.pk, lease_token=delivery.lease_token).update(
        lease_until=None,
        lease_token=None,
        reason=str(postponed)[:500],
        next_attempt_at=Greatest(Now(), postponed.until) + RETRY_AFTER[0],
    )


def _mark(delivery: Delivery, outcome: AttemptOutcome, *, attempts_made: int) -> None:
    row, failure = Delivery.objects.filter(pk=delivery.pk), outcome.failure
    if failure is None:
        known = {"remote_id": outcome.receipt.remote_id} if outcome.receipt.remote_id else {}
        row.update(state=Delivery.State.SENT, reason="", sent_at=Now(), **known)
        return
    reason = _storable(str(failure), delivery.channel)[:500]
    if failure.permanent:
        _disable(delivery.channel, reason)
    elif failure.retry_after:
        _pause(delivery.channel, failure.retry_after)
    if failure.permanent or delivery.event == TEST or attempts_made > len(RETRY_AFTER):
        row.update(state=Delivery.State.FAILED, reason=reason)
    else:
        wait = retry_delay(attempts_made, failure.retry_after, jitter=random.uniform(-JITTER, JITTER))
        row.update(reason=reason, next_attempt_at=Now() + wait)


def retry_delay(attempts_made: int, asked: timedelta | None, *, jitter: float) -> timedelta:
    """Return how long to wait after attempt `attempts_made`; a receiver may ask for more, never for less."""
    planned = RETRY_AFTER[attempts_made - 1] * (1 + jitter)
    return max(planned, asked or timedelta())


def _pause(channel: Channel, length: timedelta) -> None:
    """Send a receiver that asks for a pause none of the other messages that wait for it either."""
    until = Now() + length
    waiting = channel.deliveries.filter(state=Delivery.State.PENDING, next_attempt_at__lt=until)
    waiting.filter(lease_until=None).update(next_attempt_at=until)


def _disable(channel: Channel, reason: str) -> None:
    """Stop sending to a receiver that is gone; nothing is dropped, its deliveries can be replayed."""
    disabled = Channel.objects.filter(pk=channel.pk, enabled=True)
    if disabled.update(enabled=False, disabled_reason=reason[:200]):
        channel.enabled, channel.disabled_reason = False, reason[:200]
        report_disabled(channel)
    withhold_pending(channel, reason="The receiver said that it is gone, so the channel was disabled.")
    if channel.kind == CALLBACK:
        publish_on_commit()


def report_disabled(channel: Channel, *, actor: str = "") -> None:
    """Record that a channel was disabled, so that the others say so."""
    record_event(
        project=channel.project,
        kind=CHANNEL_DISABLED,
        subject=f"channel-{channel.pk}",
        actor=actor,
        text=f"{channel.project.name}: the channel {channel.name} is disabled, so nothing is sent to it",
        path="/settings/channels",
        facts=[("Channel", f"{channel.name} ({channel.kind})"), ("Reason", channel.disabled_reason)],
        data={
            "channel": {
                "id": channel.pk,
                "name": channel.name,
                "kind": channel.kind,
                "reason": channel.disabled_reason,
            }
        },
    )


def _storable(text: str, channel: Channel) -> str:
    """Return a text without NUL, which PostgreSQL cannot hold, nor the secrets in it: the channel's target, and links
    that act."""
    return without_acts(without_target(text.replace("\x00", "�"), channel.target))


def notified_channels(incident: Incident) -> Iterable[int]:
    """List the channels that know of an incident, or will when their turn comes."""
    sent = incident.deliveries.exclude(state=Delivery.State.SUPPRESSED)
    return set(sent.values_list("channel_id", flat=True))


def database_time() -> datetime:
    """Return the database's time: every worker's own clock may be wrong."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        now: datetime = cursor.fetchone()[0]
    return now
