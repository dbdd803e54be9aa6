"""The lines of an incident's timeline, which are events of the feed too."""

from datetime import datetime

from driftline.common.periods import counted, rfc3339
from monitors.alerts.models import Incident, IncidentEvent
from monitors.alerts.wording import compared, measured, one_line, sentence_of_run
from monitors.feed.services import record_event
from monitors.rules.models import Transition


def note(
    incident: Incident, kind: str, text: str, *, event_time: datetime | None = None, actor: str = ""
) -> IncidentEvent:
    """Add a line, and an event: of a window with its `event_time`; what a person did is dated by the wall clock."""
    record_event(
        project=incident.project,
        model=incident.model,
        kind=f"incident.{kind}",
        subject=f"incident-{incident.pk}",
        actor=actor,
        text=f"INC-{incident.pk} {incident.title}: {text}",
        path=f"/incidents/{incident.pk}",
        data={
            "incident": {
                "id": incident.pk,
                "title": incident.title,
                "status": incident.status,
                "severity": incident.severity,
                "since": rfc3339(incident.since),
                "event_time": rfc3339(event_time) if event_time else None,
            }
        },
    )
    return IncidentEvent.objects.create(
        incident=incident, kind=kind, text=one_line(text)[:500], event_time=event_time, actor=actor
    )


def observation(transition: Transition) -> str:
    """Say what a window shows: `Log loss 0.61 above 0.55 on 812 rows`."""
    if transition.lacks_data:
        return f"No data for {measured(transition)}"
    if sentence := sentence_of_run(transition):
        return sentence
    value, threshold = compared(transition)
    rule = transition.deciding
    beyond = transition.value is not None and rule.is_breached_by(transition.value)
    stands = rule.operator if beyond else f"no longer {rule.operator}"
    return f"{measured(transition)} {value} {stands} {threshold} on {counted(transition.n, 'row')}"
