"""A snooze: nobody is notified of an incident until a time, or until it changes.

An alert that joins, or a severity that rises, ends the snooze, and so does the end of the incident, of which people are
notified as ever. A snooze is counted by the wall clock, because people set it for themselves.
"""

from monitors.alerts.incidents.timeline import note
from monitors.alerts.models import Incident
from monitors.alerts.sending.outbox import database_time
from monitors.alerts.wording import moment


def is_snoozed(incident: Incident) -> bool:
    """Return whether an incident is snoozed now."""
    return incident.snoozed_until is not None and incident.snoozed_until > database_time()


def reason_of_snooze(incident: Incident) -> str:
    """Return until when an incident is snoozed; empty where it is not."""
    if incident.snoozed_until is None or not is_snoozed(incident):
        return ""
    return f"Snoozed until {moment(incident.snoozed_until)}, unless it changes"


def end_snooze_of_change(incident: Incident, *, reason: str) -> bool:
    """End the snooze of an incident that changes, and return whether there was one; the caller saves the incident.

    `reason` ends the sentence of the timeline: "because …".
    """
    was_snoozed = is_snoozed(incident)
    incident.snoozed_until = None
    if was_snoozed:
        note(incident, "snooze_ended", f"The snooze ended, because {reason}.")
    return was_snoozed
