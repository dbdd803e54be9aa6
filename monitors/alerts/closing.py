"""How incidents end: with their last alert, by a person, or with the rule that was deleted."""

from datetime import datetime

from monitors.alerts.models import Alert, Incident
from monitors.alerts.notifying import addressed_channels, notify, silenced
from monitors.alerts.outbox import notified_channels
from monitors.alerts.story import RESOLVED
from monitors.alerts.timeline import note
from monitors.rules.models import Transition
from monitors.rules.services import judged_since


def end_alert(alert: Alert, *, at: datetime) -> None:
    """Resolve an alert at a moment of event time."""
    alert.state, alert.resolved_at = Alert.State.RESOLVED, at
    alert.last_window_end = max(alert.last_window_end, at)
    alert.save(update_fields=["state", "resolved_at", "last_window_end"])


def close(incident: Incident, transition: Transition, *, at: datetime, text: str) -> None:
    """Resolve an incident with no alert left, at a moment of event time, and notify those who know of it."""
    incident.status, incident.resolved_at = Incident.Status.RESOLVED, at
    incident.save(update_fields=["status", "resolved_at"])
    note(incident, "resolved", text, event_time=at)
    _notify(incident, transition)


def close_by_hand(incident: Incident, *, at: datetime, now: datetime, actor: str, reason: str) -> None:
    """Resolve an incident with its alerts because a person says so: `at` in event time, `now` by the wall clock."""
    transition = incident.opening
    for alert in incident.alerts.filter(state=Alert.State.FIRING):
        end_alert(alert, at=at)
    incident.status, incident.resolved_at = Incident.Status.RESOLVED, at
    incident.closed_at, incident.closed_by, incident.close_reason = now, actor[:200], reason[:500]
    incident.save(update_fields=["status", "resolved_at", "closed_at", "closed_by", "close_reason"])
    note(incident, "resolved", reason, actor=actor)
    _notify(incident, transition)


def reason_of_closing(incident: Incident, actor: str) -> str:
    """Say who closes an incident, and whether it is over: `Closed by ada@example.com, still above its limit`."""
    opening = incident.opening
    newest = next(judged_since(opening.since, opening), None)
    value = opening.value if newest is None else newest.value
    still = value is not None and opening.rule.is_breached_by(value)
    return f"Closed by {actor}" + (f", still {opening.rule.operator} its limit" if still else "")


def _notify(incident: Incident, transition: Transition) -> None:
    notified, addressed = notified_channels(incident), addressed_channels(incident)
    assert incident.resolved_at is not None
    withheld = silenced(incident, incident.resolved_at)
    knowing = [channel for channel in addressed if channel.pk in notified]
    others = [channel for channel in addressed if channel.pk not in notified]
    notify(incident, transition, RESOLVED, knowing, withheld=withheld)
    notify(
        incident,
        transition,
        RESOLVED,
        others,
        withheld=withheld or "This channel was not notified of the opening either.",
    )
