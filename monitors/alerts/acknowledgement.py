"""Tells pagers that somebody looks after an incident; people read it on the incident's page."""

from monitors.alerts.models import Channel, Incident
from monitors.alerts.notifying import notify
from monitors.alerts.outbox import notified_channels
from monitors.alerts.story import ACKNOWLEDGED

PAGERS = ("pagerduty", "opsgenie")
"""The kinds that keep a state of their own for each incident."""


def notify_acknowledged(incident: Incident) -> None:
    """Write a delivery to each pager that knows of an incident, in the caller's transaction."""
    pagers = Channel.objects.filter(enabled=True, kind__in=PAGERS, pk__in=notified_channels(incident))
    notify(incident, incident.opening, ACKNOWLEDGED, list(pagers.select_related("project").order_by("pk")))
