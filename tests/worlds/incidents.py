"""An incident of one alert, written without judging or notifying."""

from typing import Any

from monitors.alerts.incidents.closing import end_alert
from monitors.alerts.incidents.handling import create_alert
from monitors.alerts.models import Incident
from monitors.rules.models import Transition


def open_incident(transition: Transition, **fields: Any) -> Incident:
    """Write the incident that a transition opens; `fields` are those of the incident that are not the usual ones."""
    usual = {
        "project": transition.model.project,
        "model": transition.model,
        "title": "Worse",
        "severity": transition.rule.severity,
        "since": transition.since,
        "opened_at": transition.window_end,
    }
    incident = Incident.objects.create(**(usual | fields))
    incident.lead = alert = create_alert(incident, transition)
    incident.save(update_fields=["lead"])
    alert.severity = incident.severity
    alert.save(update_fields=["severity"])
    if incident.resolved_at is not None:
        end_alert(alert, at=incident.resolved_at)
    return incident
