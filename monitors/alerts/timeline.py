"""The lines of an incident's timeline."""

from datetime import datetime

from monitors.alerts.models import Incident, IncidentEvent
from monitors.alerts.wording import compared, measured, one_line
from monitors.rules.models import Transition


def note(
    incident: Incident, kind: str, text: str, *, event_time: datetime | None = None, actor: str = ""
) -> IncidentEvent:
    """Add a line: of a window with its `event_time`; what a person did is dated by the wall clock."""
    return IncidentEvent.objects.create(
        incident=incident, kind=kind, text=one_line(text)[:500], event_time=event_time, actor=actor
    )


def observation(transition: Transition) -> str:
    """Say what a window shows: `Log loss 0.61 above 0.55 on 812 rows`."""
    value, threshold = compared(transition)
    beyond = transition.value is not None and transition.rule.is_breached_by(transition.value)
    stands = transition.rule.operator if beyond else f"no longer {transition.rule.operator}"
    return f"{measured(transition)} {value} {stands} {threshold} on {transition.n:,} rows"
