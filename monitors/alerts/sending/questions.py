"""Questions to webhook channels that are waited for: the answer decides, so they are neither stored nor sent again."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from monitors.alerts.channels import KINDS
from monitors.alerts.channels.base import DeliveryFailed
from monitors.alerts.channels.webhook.payload import envelope
from monitors.alerts.models import Channel, Delivery

WEBHOOK = "webhook"
MAX_ANSWER = 300


def webhook_names(project: Project) -> Sequence[str]:
    """List the names of a project's webhook channels."""
    channels = Channel.objects.filter(project=project, kind=WEBHOOK, deleted_at=None)
    return sorted(channels.values_list("name", flat=True))


def ask_webhook(project: Project, name: str, event: str, event_id: str, payload: Mapping[str, Any]) -> str:
    """Post a question, signed as every message of the channel is; returns "" for a 2xx, else what came instead."""
    channel = Channel.objects.filter(project=project, kind=WEBHOOK, name=name, deleted_at=None).first()
    if channel is None:
        return f"{name}: there is no such webhook channel"
    if not channel.enabled:
        return f"{name}: the channel is turned off"
    body = orjson.dumps({**envelope(event, event_id, now(), channel), **payload}).decode()
    try:
        KINDS[WEBHOOK].send(Delivery(channel=channel, event_id=event_id, body=body))
    except DeliveryFailed as failure:
        return f"{name}: {failure}"[:MAX_ANSWER]
    return ""
