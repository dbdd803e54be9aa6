"""What every kind of channel can do, and how it fails."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

from driftline.base.outbound.transport import RequestFailed
from monitors.alerts.joint_messages.incident_group import IncidentGroup
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.notice import Notice
from monitors.alerts.story import Story


@dataclass(frozen=True)
class Message:
    """The exact text of one delivery, composed once and stored: retries send the same bytes."""

    subject: str
    body: str
    html: str = ""


@dataclass(frozen=True)
class Receipt:
    """What the receiver answered when it took a message.

    `remote_id` is what the receiver calls the message that it shows from then on, where it can be changed later.
    """

    status: int | None
    answer: str
    remote_id: str = ""


class DeliveryFailed(RequestFailed):
    """A message did not arrive, over HTTP or in another way; `status` is that of HTTP or SMTP."""


class DeliveryPostponed(DeliveryFailed):
    """A message was not tried, because another one comes first, which is due at `until`."""

    def __init__(self, message: str, *, until: datetime) -> None:
        super().__init__(message)
        self.until = until


class ChannelKind(Protocol):
    """One way to tell people or programs. Registered in `channels.KINDS`."""

    title: str
    """Its name on pages."""

    target: str
    """What the target of such a channel is, such as "an e-mail address"."""

    def check_target(self, target: str) -> None:
        """Refuse a target that could never work, or must not be reached, with a `Problem` on /target."""

    def new_secret(self) -> str | None:
        """Make the secret that the receiver checks messages with; None where the kind has none."""

    def compose(self, story: Story, channel: Channel) -> Message:
        """Write what `channel` is told about `story`."""

    def compose_notice(self, notice: Notice, channel: Channel) -> Message:
        """Write the message to `channel` about an event of runs, versions and the like."""

    def compose_test(self, channel: Channel, *, event_id: str, at: datetime) -> Message:
        """Write the message that proves that `channel` works."""

    def send(self, delivery: Delivery) -> Receipt:
        """Hand the stored message to the receiver; raises `DeliveryFailed`, and `DeliveryPostponed` where another one
        comes first."""


@runtime_checkable
class GroupingKind(Protocol):
    """A kind that people read, which can say of several incidents in one message.

    Services that keep a state of each incident, and programs, get each one: they group by themselves.
    """

    def takes_groups(self, channel: Channel) -> bool:
        """Return whether the channel has no message of its own for each incident."""

    def compose_group(self, group: IncidentGroup, channel: Channel) -> Message:
        """Write the one message about several incidents."""
