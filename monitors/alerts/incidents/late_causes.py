"""Causes that took too long for the first message of an incident: they are ranked afterwards and added to it."""

from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from driftline.base.database.deadline import give_up_after
from monitors.alerts.incidents.handling import get_incident
from monitors.alerts.incidents.timeline import note
from monitors.alerts.models import Incident
from monitors.rules.judging.current_breach import current_breach, rank_again

MAX_SECONDS = 300.0
RETRY_AFTER = timedelta(minutes=15)
"""When another worker tries again, if the one that ranks dies; longer than ranking may take."""
MAX_NAMED = 3


def add_late_causes(incident_id: int) -> bool:
    """Rank the causes of an incident that lacks them and add them; returns whether this call was the one to do it."""
    due = Incident.objects.filter(pk=incident_id, causes_due_at__lte=Now())
    if not due.update(causes_due_at=Now() + RETRY_AFTER):
        return False
    causes = []
    try:
        with give_up_after(MAX_SECONDS):
            causes = rank_again(current_breach(Incident.objects.get(pk=incident_id).opening))
        text = f"Likely causes: {', '.join(_names(causes))}" if causes else "No likely cause was found."
    except TimeoutError:
        text = f"Likely causes could not be ranked within {MAX_SECONDS / 60:g} minutes."
    with transaction.atomic():
        incident = get_incident(incident_id)
        incident.causes, incident.causes_due_at = incident.causes or causes, None
        incident.save(update_fields=["causes", "causes_due_at"])
        note(incident, "causes", text)
    return True


def _names(causes: list[dict[str, object]]) -> list[str]:
    return [str(cause.get("feature") or cause.get("segment")) for cause in causes[:MAX_NAMED]]
