"""Incidents of challengers that did harm: a run that rolls one back by itself opens one, a later promotion ends it.

No rule fired and no window is judged: the alert has a definition of its own, and speaks in the words of the run.
"""

from datetime import datetime, timedelta
from typing import Any

from driftline.base.periods import parse_timestamp
from driftline.base.work.task_queue import Task, enqueue
from monitors.alerts.incidents.closing import close_by_hand
from monitors.alerts.incidents.handling import create_incident
from monitors.alerts.models import Incident
from monitors.alerts.sending.channel_timers import schedule
from monitors.alerts.sending.outbox import database_time
from monitors.alerts.wording import ROLLOUT
from monitors.feed.models import FeedEvent
from monitors.rules.models import Rule, Severity, Transition

NOTIFY_WITHIN = timedelta(days=1)


def open_incident(event: FeedEvent) -> Incident | None:
    """Open an incident of what an event `run.rolled_back` says; None where a person rolled back, who knows of it.

    It waits for nobody: whoever has to hear of it does so in a task, so that the weight is 0 at once.
    """
    harm = event.data["run"].get("harm")
    if harm is None:
        return None
    at = database_time()
    incident = create_incident(_transition(event, harm, at))
    schedule(incident, is_changed=False, at=at)
    incident.timers.update(due_at=at)
    enqueue(Task.NOTIFY)
    return incident


def close_incidents(event: FeedEvent) -> None:
    """Close what is open of challengers of before, as an event `run.promoted` says that a better one answers."""
    run, at = event.data["run"], database_time()
    incidents = Incident.objects.select_for_update(of=("self",)).filter(
        model=event.model, lead__metric=ROLLOUT
    )
    for incident in incidents.exclude(status=Incident.Status.RESOLVED).order_by("pk"):
        reason = f"Run {run['id']} promoted version {run['challenger']}"
        close_by_hand(incident, at=at, now=at, actor=f"run {run['id']}", reason=reason)


def _transition(event: FeedEvent, harm: dict[str, Any], at: datetime) -> Transition:
    """Write what happened as if a rule had fired, which is not stored: `value` guards failed, where none may."""
    run, model = event.data["run"], event.model
    assert model is not None
    rule = Rule(
        model=model, name="Rollout", metric=ROLLOUT, span="hour", judged_span="hour", threshold=0, min_rows=1,
        cooldown=timedelta(), notify_within=NOTIFY_WITHIN, severity=Severity.WARNING,
    )  # fmt: skip
    return Transition(
        rule=rule,
        model=model,
        kind=Transition.Kind.OPENED,
        window_start=parse_timestamp(harm["since"]),
        window_end=at,
        value=max(len(harm["guards"]), 1),
        n=harm["requests"],
        threshold=0,
        detail={
            "since": harm["since"],
            "causes": [],
            "run": run["id"],
            "title": f"version {run['challenger']} was rolled back, {run['reason'].partition(':')[0]}",
            "sentence": f"{event.text.rstrip('.')}.",
        },
    )
