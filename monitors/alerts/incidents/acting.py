"""What people do about an incident beside acknowledging and resolving it: assign, comment, snooze and judge.

Each is a line of the timeline and an entry of the audit trail. What they change is locked as transitions lock it, so
that no window that is judged meanwhile undoes it.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from driftline.base.accounts.models import Project, User
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid
from driftline.base.periods import rfc3339
from driftline.base.work.advisory_locks import AdvisoryLock, lock
from inference.prediction_log.queries.event_clock import event_now
from inference.registry.models import Version
from monitors.alerts.incidents.closing import close_by_hand
from monitors.alerts.incidents.handling import get_incident
from monitors.alerts.incidents.timeline import note
from monitors.alerts.models import Incident, IncidentEvent
from monitors.alerts.wording import moment, one_line

MAX_COMMENT = 2_000
MAX_REASON = 300
MAX_SNOOZE = timedelta(days=31)
CLOSED_AS = {Incident.Judgement.EXPECTED: "as expected", Incident.Judgement.FALSE_ALARM: "as a false alarm"}


def assign(*, incident: Incident, assignee: User | None, actor: str) -> Incident:
    """Assign an incident to a member of the project, or to nobody; the same one again changes nothing."""
    if assignee is not None and not incident.project.members.filter(pk=assignee.pk).exists():
        raise invalid("/assignee", f"{assignee} is no member of this project; name one.", "not_a_member")
    with transaction.atomic():
        incident = lock_incident(incident)
        if incident.assignee == assignee:
            return incident
        before, incident.assignee = incident.assignee, assignee
        incident.save(update_fields=["assignee"])
        text = f"Assigned to {assignee} by {actor}" if assignee else f"Assigned to nobody by {actor}"
        note(incident, "assigned", text, actor=actor)
        audit_incident(
            incident,
            actor,
            "incident.assign",
            {"assignee": before and before.email},
            {"assignee": assignee and assignee.email},
        )
    return incident


def comment(*, incident: Incident, text: str, actor: str) -> IncidentEvent:
    """Add what a person writes to the timeline: plain text, with its line breaks."""
    text = text.replace("\r\n", "\n").strip()
    if not 0 < len(text) <= MAX_COMMENT:
        raise invalid("/text", f"A comment has 1 to {MAX_COMMENT:,} characters.", "invalid_text")
    if any(not letter.isprintable() and letter not in "\n\t" for letter in text):
        raise invalid("/text", "A comment is plain text; remove the control characters.", "invalid_text")
    with transaction.atomic():
        event = IncidentEvent.objects.create(incident=incident, kind="commented", text=text, actor=actor)
        audit_incident(incident, actor, "incident.comment")
    return event


def snooze(*, incident: Incident, until: datetime | None, actor: str, now: datetime) -> Incident:
    """Notify nobody of an incident until a time or until it changes; None ends the snooze."""
    if until is not None and not now < until <= now + MAX_SNOOZE:
        raise invalid("/until", f"Snooze until a time in the next {MAX_SNOOZE.days} days.")
    with transaction.atomic():
        incident = lock_incident(incident)
        refuse_resolved(incident)
        before, incident.snoozed_until = incident.snoozed_until, until
        incident.save(update_fields=["snoozed_until"])
        if until is None:
            note(incident, "snooze_ended", f"{actor} ended the snooze", actor=actor)
        else:
            note(incident, "snoozed", f"Snoozed until {moment(until)} by {actor}", actor=actor)
        audit_incident(
            incident,
            actor,
            "incident.snooze",
            {"snoozed_until": before and rfc3339(before)},
            {"snoozed_until": until and rfc3339(until)},
        )
    return incident


def judge(*, incident: Incident, judgement: str, actor: str, now: datetime, reason: str = "") -> Incident:
    """Note what an incident was: real, expected or a false alarm; the last two close it where it is still open.

    What was expected needs a `reason`. The share of false alarms is the precision of the rules that fired.
    """
    if judgement not in Incident.Judgement.values:
        kinds = ", ".join(Incident.Judgement.values)
        raise invalid("/judgement", f"{judgement[:40]!r} is not one of {kinds}.")
    reason = one_line(reason)
    if len(reason) > MAX_REASON:
        raise invalid("/reason", f"Say why in at most {MAX_REASON} characters.", "invalid_text")
    if judgement == Incident.Judgement.EXPECTED and not reason:
        raise invalid(
            "/reason", "Say why this was expected, such as “new prices since Monday”.", "missing_field"
        )
    with transaction.atomic():
        incident = lock_incident(incident)
        before = {"status": incident.status, "judgement": incident.judgement}
        incident.judgement, incident.judged_by = judgement, actor[:200]
        incident.save(update_fields=["judgement", "judged_by"])
        how = CLOSED_AS.get(Incident.Judgement(judgement), "as real")
        because = f": {reason}" if reason else ""
        if how == "as real" or incident.status == Incident.Status.RESOLVED:
            note(incident, "judged", f"Marked {how} by {actor}{because}", actor=actor)
        else:
            closed = f"Closed {how} by {actor}{because}"
            close_by_hand(incident, at=event_time_of(incident, now), now=now, actor=actor, reason=closed)
        after = {"status": incident.status, "judgement": judgement, "reason": reason}
        audit_incident(incident, actor, "incident.judge", before, after)
    return incident


def note_rollback(*, incident: Incident, version: Version, actor: str) -> None:
    """Note that the model of an incident was rolled back because of it."""
    note(incident, "rolled_back", f"Rolled back to version {version.version} by {actor}", actor=actor)


def member_of(project: Project, email: str) -> User:
    """Find a member of a project by e-mail address; raises a 422 `Problem` on /assignee."""
    member: User | None = project.members.filter(email__iexact=email).first()
    if member is None:
        raise invalid("/assignee", f"{email[:200]!r} is no member of this project; name one.", "not_a_member")
    return member


# -- what the acts share -------------------------------------------------------------------------------------------
def lock_incident(incident: Incident) -> Incident:
    """Read an incident anew and lock it, with all that transitions of its model change."""
    lock(AdvisoryLock.ALERTS, incident.model_id)
    return get_incident(incident.pk)


def refuse_resolved(incident: Incident) -> None:
    """Raise a 409 `Problem` where there is nothing left to act on."""
    if incident.status == Incident.Status.RESOLVED:
        raise Problem(409, "incident_resolved", f"INC-{incident.pk} is resolved already.")


def event_time_of(incident: Incident, now: datetime) -> datetime:
    """Return the event time of a moment; an incident does not end before it was detected."""
    return max(event_now(model=incident.model, now=now), incident.opened_at)


def audit_incident(
    incident: Incident,
    actor: str,
    action: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write what somebody did about an incident into the audit trail, with what it changed.

    A comment stands in the timeline alone, where an erasure finds it.
    """
    record_audit(
        project=incident.project,
        actor=actor,
        action=action,
        subject=f"INC-{incident.pk} {incident.title}"[:200],
        before=before,
        after=after,
    )
