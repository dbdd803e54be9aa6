"""Links in messages that each do one thing: acknowledge, snooze, silence, assign or roll back.

A link is signed and names the act, the incident, the channel that its message went to, and that channel's address as it
was: it ends after 72 hours, and with the channel or its address. Opening a link shows what it would do; the page asks.

What a link has done is in the timeline of its incident, so a link that is used again finds there by whom it was done.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.utils.crypto import constant_time_compare, salted_hmac

from driftline.base.accounts.models import Project
from monitors.alerts.incidents.way_back import way_back
from monitors.alerts.models import Channel, Incident, IncidentEvent

LASTS = timedelta(hours=72)
_SALT = "driftline.alerts.links"


class Act(StrEnum):
    """What a link does."""

    ACKNOWLEDGE = "acknowledge"
    SNOOZE = "snooze"
    SILENCE = "silence"
    ASSIGN = "assign"
    ROLL_BACK = "roll-back"


_WORDS = {
    Act.ACKNOWLEDGE: "Acknowledge",
    Act.SNOOZE: "Snooze for a day",
    Act.SILENCE: "Silence the model",
    Act.ASSIGN: "Assign to me",
}
_LINES = {
    Act.ACKNOWLEDGE: "acknowledged",
    Act.SNOOZE: "snoozed",
    Act.SILENCE: "silenced",
    Act.ASSIGN: "assigned",
    Act.ROLL_BACK: "rolled_back",
}
"""The kind of the line that each leaves in the timeline."""


class LinkRefused(Exception):
    """A link that does nothing any more; `status` is that of the response, and the text says what to do instead."""

    def __init__(self, text: str, *, status: int, incident: Incident | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.incident = incident


@dataclass(frozen=True)
class ActLink:
    """What a link does, read from its token."""

    act: Act
    incident: Incident
    channel: Channel
    issued_at: datetime

    def done_by(self) -> IncidentEvent | None:
        """Return the line of the timeline that says that it is done since the link was sent; None where it is not."""
        lines = self.incident.events.filter(kind=_LINES[self.act], at__gte=self.issued_at)
        return lines.order_by("-at", "-pk").first()


def acts_on_offer(incident: Incident) -> list[tuple[Act, str]]:
    """List what a message about an incident offers, with the words of each, the most urgent first; nothing of
    one that is resolved."""
    if incident.status == Incident.Status.RESOLVED:
        return []
    offered: list[tuple[Act, str]] = []
    if incident.status == Incident.Status.OPEN:
        offered.append((Act.ACKNOWLEDGE, _WORDS[Act.ACKNOWLEDGE]))
    if version := way_back(incident):
        offered.append((Act.ROLL_BACK, f"Roll back to version {version.version}"))
    return offered + [(act, _WORDS[act]) for act in (Act.SNOOZE, Act.SILENCE, Act.ASSIGN)]


def link_of(act: Act, incident: Incident, channel: Channel, *, at: datetime) -> str:
    """Return the address of an act for the receiver of a message."""
    address = _print_of(channel.target, settings.SECRET_KEY)
    named = [str(act), incident.pk, channel.pk, address, int(at.timestamp() * 1000)]
    return f"{incident.project.url}/act/{_signer().sign_object(named)}"


def read_link(token: str, *, project: Project, now: datetime) -> ActLink:
    """Read the token of a link, within one project; raises `LinkRefused`."""
    try:
        act, incident_id, channel_id, address, issued = _signer().unsign_object(token)
        issued_at = datetime.fromtimestamp(issued / 1000, UTC)
        known = Act(act)
    except (BadSignature, ValueError, TypeError) as error:
        raise _not_a_link() from error
    incidents = Incident.objects.select_related(
        "project", "model__project", "lead__rule__model", "lead__model", "acknowledged_by", "assignee"
    )
    incident = incidents.filter(pk=incident_id, project=project).first()
    channel = Channel.objects.filter(pk=channel_id, project=project).first()
    if incident is None or channel is None:
        raise _not_a_link()
    if now >= issued_at + LASTS:
        hours = LASTS // timedelta(hours=1)
        raise LinkRefused(
            f"This link has ended: links in messages work for {hours} hours. Open the incident to act on it.",
            status=410,
            incident=incident,
        )
    if channel.deleted_at is not None or not channel.enabled or not _is_print_of(address, channel.target):
        raise LinkRefused(
            "This link has ended: its channel was deleted or turned off, or sends to another address by now. Open the "
            "incident to act on it.",
            status=410,
            incident=incident,
        )
    return ActLink(known, incident, channel, issued_at)


def _signer() -> Signer:
    return Signer(salt=_SALT, sep=".")


def _not_a_link() -> LinkRefused:
    return LinkRefused(
        "This is no link of Driftline, or it was cut on its way: copy all of it from the message.",
        status=404,
    )


def _print_of(target: str, key: str | bytes) -> str:
    """Return a keyed hash of a channel's address, which a link may carry where the address itself is a secret."""
    return salted_hmac(f"{_SALT}.address", target, secret=key, algorithm="sha256").hexdigest()[:20]


def _is_print_of(text: str, target: str) -> bool:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return any(constant_time_compare(text, _print_of(target, key)) for key in keys)
