"""What the kinds share that post JSON to a URL which is itself the secret."""

from datetime import datetime
from typing import ClassVar

from driftline.base.outbound.targets import UrlNotAllowed, check_target, parse_target
from driftline.base.outbound.transport import HOP_HEADER
from monitors.alerts.channels.base import DeliveryFailed, Message, Receipt
from monitors.alerts.channels.brief import Brief, brief_of, brief_of_group, brief_of_notice, brief_of_test
from monitors.alerts.channels.webhook.transport import post
from monitors.alerts.joint_messages.incident_group import IncidentGroup
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.notice import Notice
from monitors.alerts.story import Story

REFUSED = frozenset({401, 403, 410})
"""Statuses of a receiver that will refuse every later message too."""


class ChatChannel:
    """A kind that draws a `Brief` as JSON and posts it to its target."""

    title: str
    target: str
    permanent_statuses: ClassVar[frozenset[int]] = REFUSED | {404}

    def check_target(self, target: str) -> None:
        check_target(target, "/target")

    def new_secret(self) -> str | None:
        return None

    def compose(self, story: Story, channel: Channel) -> Message:
        return Message(story.incident.title, self.draw(brief_of(story, channel)))

    def takes_groups(self, channel: Channel) -> bool:
        return True

    def compose_group(self, group: IncidentGroup, channel: Channel) -> Message:
        return Message(group.title, self.draw(brief_of_group(group)))

    def compose_notice(self, notice: Notice, channel: Channel) -> Message:
        return Message(notice.text, self.draw(brief_of_notice(notice)))

    def compose_test(self, channel: Channel, *, event_id: str, at: datetime) -> Message:
        return Message("Test", self.draw(brief_of_test(channel, at=at)))

    def send(self, delivery: Delivery) -> Receipt:
        return post_json(delivery.channel.target, delivery.body, permanent=self.permanent_statuses)

    def draw(self, brief: Brief) -> str:
        """Write the JSON of a message, within the receiver's limits."""
        raise NotImplementedError


def post_json(
    url: str, body: str, *, headers: dict[str, str] | None = None, permanent: frozenset[int] = REFUSED
) -> Receipt:
    """Post JSON; an answer with one of the `permanent` statuses fails for good. Raises `DeliveryFailed`."""
    fixed = {"Content-Type": "application/json", "Accept-Encoding": "identity", HOP_HEADER: "1"}
    try:
        return post(parse_target(url).url, body=body.encode(), headers=fixed | (headers or {}))
    except UrlNotAllowed as error:
        raise DeliveryFailed(f"url_not_allowed: {error}") from error
    except DeliveryFailed as error:
        error.permanent = error.permanent or error.status in permanent
        raise
