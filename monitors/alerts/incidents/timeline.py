"""The lines of an incident's timeline, which are events of the feed too."""

from datetime import datetime, timedelta

from django.db.models.functions import Now

from driftline.base.periods import counted, rfc3339
from monitors.alerts.models import Incident, IncidentEvent
from monitors.alerts.wording import compared, measured, one_line, sentence_of_run
from monitors.feed.services import record_event
from monitors.rules.models import Transition

AT_ONCE = timedelta(minutes=1)
"""Within how long lines of one rule are one."""


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


def note_still_firing(incident: Incident, transition: Transition) -> None:
    """Add the line of a window whose rule goes on firing; of many at once, as of an import, the newest stays."""
    text = one_line(observation(transition))[:500]
    newest = incident.events.filter(at__gt=Now() - AT_ONCE).order_by("-pk").first()
    if newest and newest.kind == "still_firing" and newest.text.startswith(one_line(measured(transition))):
        newest.text, newest.event_time = text, transition.window_end
        newest.save(update_fields=["text", "event_time"])
    else:
        note(incident, "still_firing", text, event_time=transition.window_end)


def observation(transition: Transition) -> str:
    """Return what a window shows: `Log loss 0.61 above 0.55 on 812 rows`."""
    if transition.lacks_data:
        return f"No data for {measured(transition)}"
    if sentence := sentence_of_run(transition):
        return sentence
    value, threshold = compared(transition)
    rule = transition.deciding
    beyond = transition.value is not None and rule.is_breached_by(transition.value)
    stands = rule.operator if beyond else f"no longer {rule.operator}"
    return f"{measured(transition)} {value} {stands} {threshold} on {counted(transition.n, 'row')}"
