"""Writes of incidents: people acknowledge and resolve them; a rule that is deleted ends what it alerts of."""

from datetime import datetime

from django.db import transaction

from driftline.base.accounts.models import User
from driftline.base.work.advisory_locks import AdvisoryLock, lock
from monitors.alerts.incidents.acting import audit_incident, event_time_of, lock_incident, refuse_resolved
from monitors.alerts.incidents.closing import close_by_hand, end_alert, reason_of_closing
from monitors.alerts.incidents.handling import get_incident
from monitors.alerts.incidents.timeline import note
from monitors.alerts.models import Alert, Incident
from monitors.alerts.sending.acknowledgement import notify_acknowledged
from monitors.rules.models import Rule


# -- people --------------------------------------------------------------------------------------------------
def acknowledge(*, incident: Incident, actor: str, user: User | None, now: datetime) -> Incident:
    """Note that somebody looks after an incident; doing it twice changes nothing."""
    with transaction.atomic():
        incident = lock_incident(incident)
        refuse_resolved(incident)
        if incident.status == Incident.Status.OPEN:
            incident.status = Incident.Status.ACKNOWLEDGED
            incident.acknowledged_at, incident.acknowledged_by = now, user
            incident.save(update_fields=["status", "acknowledged_at", "acknowledged_by"])
            note(incident, "acknowledged", f"Acknowledged by {actor}", actor=actor)
            audit_incident(
                incident,
                actor,
                "incident.acknowledge",
                {"status": Incident.Status.OPEN},
                {"status": incident.status},
            )
            notify_acknowledged(incident)
            incident.timers.filter(opening_since=None, change_since=None).update(due_at=None)  # no reminders
    return incident


def resolve(*, incident: Incident, actor: str, now: datetime) -> Incident:
    """Close an incident by hand, at a moment of the wall clock.

    It opens again if its rule still fires at the end of the cooldown.
    """
    with transaction.atomic():
        incident = lock_incident(incident)
        before = incident.status
        if before != Incident.Status.RESOLVED:
            close_by_hand(
                incident,
                at=max(event_time_of(incident, now), incident.opened_at),  # a run opens one by the wall clock
                now=now,
                actor=actor,
                reason=reason_of_closing(incident, actor),
            )
            audit_incident(
                incident, actor, "incident.resolve", {"status": before}, {"status": incident.status}
            )
    return incident


def end_alert_of_rule(*, rule: Rule, actor: str, now: datetime) -> None:
    """End what a rule that is being deleted alerts of, in the caller's transaction; with the last alert of an incident
    that is closed."""
    lock(AdvisoryLock.ALERTS, rule.model_id)
    alert = Alert.objects.filter(rule=rule, state=Alert.State.FIRING).first()
    if alert is None:
        return
    incident = get_incident(alert.incident_id)
    at, reason = event_time_of(incident, now), f"{actor} deleted the rule {rule.name}"
    if incident.alerts.filter(state=Alert.State.FIRING).count() > 1:
        end_alert(alert, at=at)
        note(incident, "alert_resolved", reason, actor=actor)
    else:
        close_by_hand(incident, at=at, now=now, actor=actor, reason=f"Closed: {reason}")
