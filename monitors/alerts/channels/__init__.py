"""The kinds of channel: one small folder each.

Input: the story of an incident and a channel. A kind composes the message that is stored as a delivery, and sends it
when its turn comes; it fails with `DeliveryFailed` alone. A new kind is registered in `KINDS` below and in
`Channel.Kind`.

Start with `base.py`, the interface of a kind, then `webhook`.
"""

from monitors.alerts.channels.base import ChannelKind
from monitors.alerts.channels.callback import CallbackChannel
from monitors.alerts.channels.email import EmailChannel
from monitors.alerts.channels.webhook import WebhookChannel
from monitors.alerts.models import Channel

KINDS: dict[str, ChannelKind] = {
    Channel.Kind.EMAIL: EmailChannel(),
    Channel.Kind.WEBHOOK: WebhookChannel(),
    Channel.Kind.CALLBACK: CallbackChannel(),
}
