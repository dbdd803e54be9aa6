"""E-mail: one message for each event and address, in one thread for each incident or run.

Input: the story of an incident, which `letter.py` words as text and as HTML.
Output: an e-mail through Django's mail backend; without a mail server it is written to a file.

Start with `letter.py`.
"""

import smtplib
from datetime import datetime

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email

from driftline.base.accounts.teams import NAME, addresses_of
from driftline.base.errors import invalid
from monitors.alerts.channels.base import DeliveryFailed, Message, Receipt
from monitors.alerts.channels.email.letter import compose, compose_group, compose_notice, compose_test
from monitors.alerts.joint_messages.incident_group import IncidentGroup
from monitors.alerts.models import Channel, Delivery
from monitors.alerts.sending.notice import Notice
from monitors.alerts.story import Story, channels_url

TEAM = "@"
"""What a target that is a team starts with."""


class EmailChannel:
    title = "E-mail"
    target = "an e-mail address, or @ and the name of a team of the project"

    def check_target(self, target: str) -> None:
        if target.startswith(TEAM) and NAME.fullmatch(target.removeprefix(TEAM)):
            return
        try:
            validate_email(target)
        except ValidationError as error:
            raise invalid(
                "/target",
                f"{target[:64]!r} is not an e-mail address such as you@example.com, nor a team such as @risk.",
            ) from error

    def new_secret(self) -> str | None:
        return None

    def compose(self, story: Story, channel: Channel) -> Message:
        return compose(story, channel)

    def takes_groups(self, channel: Channel) -> bool:
        return True

    def compose_group(self, group: IncidentGroup, channel: Channel) -> Message:
        return compose_group(group, channel)

    def compose_notice(self, notice: Notice, channel: Channel) -> Message:
        return compose_notice(notice, channel)

    def compose_test(self, channel: Channel, *, event_id: str, at: datetime) -> Message:
        return compose_test(channel, at=at)

    def send(self, delivery: Delivery) -> Receipt:
        """Hand the e-mail to the mail server; what it refuses is tried again, as such refusals often pass."""
        try:
            _email_of(delivery).send()
        except smtplib.SMTPRecipientsRefused as error:
            status, answer = next(iter(error.recipients.values()))
            raise DeliveryFailed(
                f"The mail server refused the address: {_text(answer)}", status=status
            ) from error
        except smtplib.SMTPResponseException as error:
            raise DeliveryFailed(
                f"The mail server answered {error.smtp_code}: {_text(error.smtp_error)}",
                status=error.smtp_code,
            ) from error
        except OSError as error:  # smtplib's other errors, time-outs and refused connections are OSErrors
            raise DeliveryFailed(f"The mail server could not be used: {error}") from error
        return Receipt(status=None, answer=_answer())


def _email_of(delivery: Delivery) -> EmailMultiAlternatives:
    email = EmailMultiAlternatives(
        delivery.subject, delivery.body, to=_addresses(delivery.channel), headers=_headers(delivery)
    )
    if delivery.html:
        email.attach_alternative(delivery.html, "text/html")
    return email


def _addresses(channel: Channel) -> list[str]:
    """Return whom a channel writes to: its address, or those who are in its team now."""
    if not channel.target.startswith(TEAM):
        return [channel.target]
    name = channel.target.removeprefix(TEAM)
    addresses = addresses_of(channel.project, name)
    if addresses is None:
        raise DeliveryFailed(
            f"There is no team {name} in this project; make it, or give the channel another target."
        )
    if not addresses:
        raise DeliveryFailed(f"Nobody is in the team {name}; add members to it.")
    return addresses


def _headers(delivery: Delivery) -> dict[str, str]:
    """A replay keeps its Message-ID; an incident's messages refer to one root, which makes them one thread."""
    headers = {
        "Message-ID": _message_id(delivery.event_id),
        "Auto-Submitted": "auto-generated",
        "List-Unsubscribe": f"<{channels_url(delivery.channel)}>",
    }
    thread = delivery.thread if delivery.incident_id is None else f"incident-{delivery.incident_id}"
    if thread:
        headers["References"] = headers["In-Reply-To"] = _message_id(thread)
    return headers


def _answer() -> str:
    """Return where the e-mail went; without a mail server nobody finds it in an inbox."""
    if settings.EMAIL_URL:
        return "accepted for delivery"
    return f"written to a file in {settings.HOME / 'mail'}, as DRIFTLINE_EMAIL_URL names no mail server"


def _message_id(name: str) -> str:
    return f"<{name}@{settings.DEFAULT_FROM_EMAIL.rpartition('@')[2].rstrip('>') or 'localhost'}>"


def _text(answer: bytes | str) -> str:
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer
