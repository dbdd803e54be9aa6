"""Messages that somebody looks after an incident, to what shows its state; people read it on the incident's page."""

from django.db.models import Q

from monitors.alerts.channels.masking import BOT_TOKEN_START
from monitors.alerts.models import Channel, Incident
from monitors.alerts.sending.notifying import notify
from monitors.alerts.sending.outbox import notified_channels
from monitors.alerts.story import ACKNOWLEDGED

PAGERS = ("pagerduty", "opsgenie")
"""The kinds that keep a state of their own for each incident."""


def notify_acknowledged(incident: Incident) -> None:
    """Write a delivery to each pager that knows of an incident, and to each chat that edits its message of it, in the
    caller's transaction."""
    knowing = Channel.objects.filter(enabled=True, pk__in=notified_channels(incident))
    shows_state = Q(kind__in=PAGERS) | Q(kind="slack", target__startswith=BOT_TOKEN_START)
    channels = knowing.filter(shows_state).select_related("project").order_by("pk")
    notify(incident, incident.opening, ACKNOWLEDGED, list(channels))
