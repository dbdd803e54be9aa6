"""What every kind of channel can do, and how it fails."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from monitors.alerts.models import Channel, Delivery
from monitors.alerts.notice import Notice
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


class DeliveryFailed(Exception):
    """A message did not arrive.

    `permanent` says that the receiver wants no more messages ever; `status` is its HTTP or SMTP status
    where there was one; `retry_after` is how long it asks to be left alone.
    """

    def __init__(
        self,
        message: str,
        *,
        permanent: bool = False,
        status: int | None = None,
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.status = status
        self.retry_after = retry_after


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
