"""Slack with a bot token: one message an incident, which is edited as it changes, with what happened in its thread.

Input: a delivery; its body is the message.
Output: calls of `chat.postMessage` and `chat.update`. What Slack calls the message is stored with the delivery, so that
the next one finds it; where Slack does not know it any more, the incident gets a new one.

The first message of an incident, or of a run, begins its thread; other messages stand alone. Deliveries of one thread
are sent in their order.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from driftline.base.errors import invalid
from monitors.alerts.channels.base import DeliveryFailed, DeliveryPostponed, Receipt
from monitors.alerts.channels.json_post import post_json
from monitors.alerts.models import MUTED_UNTIL, Delivery
from monitors.alerts.story import REMINDER

API = "https://slack.com/api"
PAUSE_OF_LIMIT = timedelta(minutes=1)
"""How long to wait where Slack says that it limits the rate, and no time."""
_TARGET = re.compile(r"(xoxb-[0-9A-Za-z-]{10,200}):(#?[\w.-]{1,80})")
_FORBIDDEN = frozenset(
    {"account_inactive", "invalid_auth", "is_archived", "missing_scope", "not_authed", "token_expired", "token_revoked"}
)  # fmt: skip
"""Errors after which every later message would be refused too."""
_LOST = frozenset({"cant_update_message", "edit_window_closed", "message_not_found", "thread_not_found"})
"""Errors of a message that was deleted, or can be edited no more."""
_HEAD_BLOCKS = 2
"""Blocks that say in a thread what happened; the message above has the others."""


@dataclass(frozen=True)
class _Posted:
    """A message in Slack: `room` is the channel as the target names it, and `place` as Slack does."""

    room: str
    place: str
    ts: str

    @property
    def remote_id(self) -> str:
        return f"{self.room} {self.place} {self.ts}"


class _MessageLost(Exception):
    """Slack does not know a message any more that was to be edited or answered."""


def check_target(target: str) -> None:
    """Refuse what is no token with a channel, with a `Problem` on /target."""
    if not _TARGET.fullmatch(target):
        raise invalid(
            "/target",
            "Write the bot token, a colon and the channel, such as xoxb-…:#alerts or xoxb-…:C024BE91L.",
        )


def send(delivery: Delivery) -> Receipt:
    """Post or edit the message of the delivery's thread, and say in the thread what happened; raises
    `DeliveryFailed`, and `DeliveryPostponed` where an earlier message of the thread comes first."""
    token, _, room = delivery.channel.target.rpartition(":")
    earlier = _of_thread(delivery)
    if earlier is not None:
        _wait_for_earlier(earlier, delivery)
    last = None if earlier is None else earlier.exclude(remote_id="").order_by("-pk").first()
    first = None if last is None else _posted(last.remote_id, room)
    if last is None or first is None:
        return _post(token, room, delivery.body)
    try:
        edits = delivery.incident_id is not None and delivery.pk > last.pk and delivery.event != REMINDER
        if edits:
            _edit(token, first, delivery.body)
        return _reply(token, first, delivery, is_shown=edits)
    except _MessageLost:
        return _post(token, room, delivery.body)


def _wait_for_earlier(thread: QuerySet[Delivery], delivery: Delivery) -> None:
    """Raise `DeliveryPostponed` while an earlier message of the thread is due or retried; one that is muted until later
    holds up nothing."""
    waiting = thread.filter(pk__lt=delivery.pk, state=Delivery.State.PENDING)
    muted = Q(next_attempt_at__gt=Now(), reason__startswith=MUTED_UNTIL)
    first = waiting.exclude(muted).order_by("pk").first()
    if first is not None:
        raise DeliveryPostponed(
            "An earlier message about the same is sent first.", until=first.next_attempt_at
        )


def _of_thread(delivery: Delivery) -> QuerySet[Delivery] | None:
    """Select the deliveries to the same channel among which the thread of one is begun; None where it has none."""
    rows = Delivery.objects.filter(channel=delivery.channel_id)
    kind, _, number = delivery.thread.partition("-")
    incident_id = int(number) if kind == "incident" else delivery.incident_id
    if incident_id is not None:
        return rows.filter(incident=incident_id)
    return rows.filter(incident=None, thread=delivery.thread) if kind == "run" else None


def _posted(remote_id: str, room: str) -> _Posted | None:
    """Read where a message stands; None where that is in another room than the channel sends to by now."""
    found = _Posted(*remote_id.split(" "))
    return found if found.room == room else None


def _post(token: str, room: str, body: str) -> Receipt:
    """Post a message that begins a thread."""
    answer, receipt = _call(token, "chat.postMessage", {"channel": room, **orjson.loads(body)})
    return Receipt(receipt.status, receipt.answer, _Posted(room, answer["channel"], answer["ts"]).remote_id)


def _edit(token: str, posted: _Posted, body: str) -> None:
    message = orjson.loads(body)
    message.pop("unfurl_links", None)  # which is only for new ones
    _call(token, "chat.update", {"channel": posted.place, "ts": posted.ts, **message})


def _reply(token: str, posted: _Posted, delivery: Delivery, *, is_shown: bool) -> Receipt:
    """Write in a thread what happened: in short where the message above shows it by now."""
    message = orjson.loads(delivery.body)
    if is_shown:
        message["blocks"] = message["blocks"][:_HEAD_BLOCKS]
    _, receipt = _call(
        token, "chat.postMessage", {"channel": posted.place, "thread_ts": posted.ts, **message}
    )
    return Receipt(receipt.status, receipt.answer, posted.remote_id if is_shown else "")


def _call(token: str, method: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], Receipt]:
    """Call a method of Slack, which says in the body of a 200 whether it worked."""
    body = orjson.dumps(arguments).decode()
    receipt = post_json(f"{API}/{method}", body, headers={"Authorization": f"Bearer {token}"})
    try:
        answer = orjson.loads(receipt.answer)
        error = None if answer["ok"] else str(answer["error"])
        if error is None:
            return {"channel": str(answer["channel"]), "ts": str(answer["ts"])}, receipt
    except (ValueError, KeyError, TypeError) as unread:
        raise DeliveryFailed(
            f"Slack answered {receipt.status} with what is no answer of its API: {receipt.answer[:200]}",
            status=receipt.status,
        ) from unread
    if error in _LOST:
        raise _MessageLost
    raise DeliveryFailed(
        f"Slack refused {method}: {error}",
        permanent=error in _FORBIDDEN,
        status=receipt.status,
        retry_after=PAUSE_OF_LIMIT if error == "ratelimited" else None,
    )
