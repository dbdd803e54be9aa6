"""The kinds of channel: one small folder each. A new kind is registered here and in `Channel.Kind`."""

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
