"""The version that a roll-back leads to, where a promotion may be what an incident is about."""

from datetime import timedelta

from inference.registry.models import DeploymentChange, Version
from monitors.alerts.models import Incident
from monitors.alerts.wording import ROLLOUT

CHANGES_WITHIN = timedelta(days=7)
"""How long before an incident a change may have caused it."""


def way_back(incident: Incident) -> Version | None:
    """Return the champion of before, where the last change before an unresolved incident was a promotion."""
    deployment = getattr(incident.model, "deployment", None)
    last = DeploymentChange.objects.filter(model=incident.model).order_by("-pk").first()
    if incident.rule.metric == ROLLOUT:
        return None  # the challenger is rolled back already
    if incident.status == Incident.Status.RESOLVED or deployment is None or last is None:
        return None
    is_near = incident.since - CHANGES_WITHIN <= last.event_time <= incident.opened_at
    return deployment.previous if last.kind == "promote" and is_near else None
