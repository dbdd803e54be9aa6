"""Webhooks as the Standard Webhooks specification describes them.

Input: the story of an incident, of which `payload.py` makes JSON, and `formats.py` the format of the channel.
Output: a request with a stable id and a signature that is made for each attempt, to an address that is checked on
each connection (`driftline.base.outbound.transport`).

Start with `payload.py`.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from secrets import token_bytes

from standardwebhooks import Webhook

from driftline.base.clock import now
from driftline.base.keys.secrets_at_rest import SecretUnreadable, decrypt
from driftline.base.outbound.targets import UrlNotAllowed, check_target, parse_target
from driftline.base.outbound.transport import HOP_HEADER
from monitors.alerts.channels.base import DeliveryFailed, Message, Receipt
from monitors.alerts.channels.webhook.formats import content_type
from monitors.alerts.channels.webhook.payload import compose, compose_notice, compose_test
from monitors.alerts.channels.webhook.transport import post
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.notice import Notice
from monitors.alerts.story import Story

SECRET_BYTES = 32


class WebhookChannel:
    title = "Webhook"
    target = "an https URL"

    def check_target(self, target: str) -> None:
        check_target(target, "/target")

    def new_secret(self) -> str | None:
        return "whsec_" + base64.b64encode(token_bytes(SECRET_BYTES)).decode()

    def compose(self, story: Story, channel: Channel) -> Message:
        return compose(story, channel)

    def compose_notice(self, notice: Notice, channel: Channel) -> Message:
        return compose_notice(notice, channel)

    def compose_test(self, channel: Channel, *, event_id: str, at: datetime) -> Message:
        return compose_test(channel, event_id=event_id, at=at)

    def send(self, delivery: Delivery) -> Receipt:
        try:
            target = parse_target(delivery.channel.target)
            at = now()
            headers = signed_headers(delivery, secrets=secrets_at(delivery.channel, at), at=at)
        except UrlNotAllowed as error:
            raise DeliveryFailed(f"url_not_allowed: {error}") from error
        except SecretUnreadable as error:
            raise DeliveryFailed(f"secret_unreadable: {error}") from error
        return post(target.url, body=delivery.body.encode(), headers=headers)


def secrets_at(channel: Channel, at: datetime) -> list[str]:
    """Return what messages are signed with: the secret, and for a while after it was rotated the one before.

    Raises `SecretUnreadable`.
    """
    until = channel.previous_secret_until
    stored = [channel.secret, *([channel.previous_secret] if until is not None and at < until else [])]
    return [decrypt(one) for one in stored]


def signed_headers(delivery: Delivery, *, secrets: Sequence[str], at: datetime) -> dict[str, str]:
    """Sign the stored body for an attempt at `at`, with each secret; receivers take any that they can verify."""
    return {
        "Content-Type": content_type(delivery.body),
        "Accept-Encoding": "identity",
        HOP_HEADER: "1",
        "webhook-id": delivery.event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(
            Webhook(secret).sign(delivery.event_id, at.astimezone(UTC), delivery.body) for secret in secrets
        ),
    }
