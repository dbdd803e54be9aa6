"""Webhooks as the Standard Webhooks specification describes them.

Input: the story of an incident, of which `payload.py` makes JSON.
Output: a request with a stable id and a signature that is made for each attempt, to an address that is checked on
each connection (`transport.py`).

Start with `payload.py`.
"""

import base64
import secrets
from datetime import UTC, datetime

from standardwebhooks import Webhook

from driftline.common.clock import now
from driftline.common.outbound.targets import UrlNotAllowed, check_target, parse_target
from driftline.common.secrets_at_rest import SecretUnreadable, decrypt
from monitors.alerts.channels.base import DeliveryFailed, Message, Receipt
from monitors.alerts.channels.webhook.payload import compose, compose_test
from monitors.alerts.channels.webhook.transport import post
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.story import Story

SECRET_BYTES = 32
HOP_HEADER = "Driftline-Hop"
"""On every webhook; Driftline's own API refuses requests that carry it, so that no chain of servers loops."""


class WebhookChannel:
    def check_target(self, target: str) -> None:
        check_target(target, "/target")

    def new_secret(self) -> str | None:
        return "whsec_" + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()

    def compose(self, story: Story, channel: Channel) -> Message:
        return compose(story, channel)

    def compose_test(self, channel: Channel, *, event_id: str, at: datetime) -> Message:
        return compose_test(channel, event_id=event_id, at=at)

    def send(self, delivery: Delivery) -> Receipt:
        try:
            target = parse_target(delivery.channel.target)
            headers = signed_headers(delivery, secret=decrypt(delivery.channel.secret), at=now())
        except UrlNotAllowed as error:
            raise DeliveryFailed(f"url_not_allowed: {error}") from error
        except SecretUnreadable as error:
            raise DeliveryFailed(f"secret_unreadable: {error}") from error
        return post(target.url, body=delivery.body.encode(), headers=headers)


def signed_headers(delivery: Delivery, *, secret: str, at: datetime) -> dict[str, str]:
    """Sign the stored body for an attempt at `at`."""
    return {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        HOP_HEADER: "1",
        "webhook-id": delivery.event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(delivery.event_id, at.astimezone(UTC), delivery.body),
    }
