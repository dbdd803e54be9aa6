"""The kinds of channel: a module each, or a small folder.

Input: the story of an incident and a channel. A kind composes the message that is stored as a delivery, and sends it
when its turn comes; it fails with `DeliveryFailed` alone. A new kind is a module and an entry of `KINDS`: the API, the
pages and the reference list what is there.

Start with `base.py`, the interface of a kind, then `slack.py`, with `brief.py` and `json_post.py`, which chats share.
"""

from monitors.alerts.channels.alertmanager import AlertmanagerChannel
from monitors.alerts.channels.apprise import AppriseChannel
from monitors.alerts.channels.base import ChannelKind
from monitors.alerts.channels.callback import CALLBACK, CallbackChannel
from monitors.alerts.channels.discord import DiscordChannel
from monitors.alerts.channels.email import EmailChannel
from monitors.alerts.channels.opsgenie import OpsgenieChannel
from monitors.alerts.channels.pagerduty import PagerDutyChannel
from monitors.alerts.channels.slack import SlackChannel
from monitors.alerts.channels.teams import TeamsChannel
from monitors.alerts.channels.webhook import WebhookChannel

KINDS: dict[str, ChannelKind] = {
    "email": EmailChannel(),
    "webhook": WebhookChannel(),
    "slack": SlackChannel(),
    "teams": TeamsChannel(),
    "pagerduty": PagerDutyChannel(),
    "opsgenie": OpsgenieChannel(),
    "discord": DiscordChannel(),
    "alertmanager": AlertmanagerChannel(),
    "apprise": AppriseChannel(),
    CALLBACK: CallbackChannel(),
}


def describe_targets() -> str:
    """List the kinds in one line, each with what its target is."""
    return "; ".join(f"{kind.title}: {kind.target}" for kind in KINDS.values())
