"""Writes of alerts: transitions become incidents, incidents become deliveries; people acknowledge, resolve.

What `channel_services.py` and `outbox.py` offer to callers is offered from here too.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from driftline.accounts.models import Project, User
from driftline.accounts.services import record_audit
from driftline.common.errors import Problem, invalid
from driftline.common.ids import new_id
from driftline.common.number_format import format_pair
from driftline.common.task_queue import Task, enqueue
from inference.registry.models import Model
from monitors.alerts.channel_services import create_channel, delete_channel, replay, send_test, update_channel
from monitors.alerts.channels import KINDS
from monitors.alerts.hooks import describe_ongoing
from monitors.alerts.models import Channel, Incident, IncidentEvent, Silence
from monitors.alerts.outbox import database_time, notified_channels, send_due_deliveries, write_delivery
from monitors.alerts.story import OPENED, RESOLVED, UPDATED, gather
from monitors.alerts.wording import duration, measured, moment, one_line, title_of
from monitors.rules.models import Rule, Severity, Transition

__all__ = [
    "acknowledge",
    "create_channel",
    "create_silence",
    "delete_channel",
    "delete_silence",
    "handle_transition",
    "replay",
    "resolve",
    "send_due_deliveries",
    "send_test",
    "update_channel",
]

log = logging.getLogger(__name__)

MAX_SILENCE = timedelta(days=366)


# -- transitions ---------------------------------------------------------------------------------------------
def handle_transition(transition_id: int) -> None:
    """Turn a transition into its incident's events and deliveries, exactly once.

    Older transitions of the rule that still wait are handled first: no "resolved" overtakes its "opened".
    """
    with transaction.atomic():
        rules = Rule.objects.filter(pk__in=Transition.objects.filter(pk=transition_id).values("rule"))
        rule = rules.select_for_update(no_key=True).first()
        if rule is None:
            return  # deleted meanwhile, with all its transitions
        waiting = rule.transitions.filter(alerts_done_at=None, pk__lte=transition_id)
        for waiting_one in waiting.select_related("rule", "model__project").order_by("pk"):
            _HANDLERS[waiting_one.kind](waiting_one)
            Transition.objects.filter(pk=waiting_one.pk).update(alerts_done_at=Now())


def _opened(transition: Transition) -> None:
    incident = _unresolved(transition)
    if incident is not None:
        _continue(incident, transition)
        return
    incident = Incident.objects.create(
        project=transition.model.project,
        model=transition.model,
        rule=transition.rule,
        opened_by=transition,
        title=title_of(transition),
        severity=transition.rule.severity,
        opened_at=transition.window_end,
        causes=transition.detail.get("causes", []),
    )
    _note(incident, "opened", _observation(transition), event_time=transition.window_end)
    _tell(incident, transition, OPENED, _takers(incident), withheld=_withheld(transition))


def _still_firing(transition: Transition) -> None:
    """Go on with the incident, or open one anew where somebody resolved it although the rule fires."""
    incident = _unresolved(transition)
    if incident is None:
        _opened(transition)
    else:
        _continue(incident, transition)


def _continue(incident: Incident, transition: Transition) -> None:
    """Note that the problem goes on; only channels that were never told of it get a message."""
    _note(incident, "still_firing", _observation(transition), event_time=transition.window_end)
    notified = notified_channels(incident)
    untold = [channel for channel in _takers(incident) if channel.pk not in notified]
    withheld = _withheld(transition)
    if untold and not withheld:
        _tell(incident, transition, UPDATED, untold)


def _resolved(transition: Transition) -> None:
    incident = _unresolved(transition)
    if incident is not None:
        _close(incident, transition, at=transition.window_end, text=_observation(transition))


_HANDLERS: dict[str, Callable[[Transition], None]] = {
    Transition.Kind.OPENED: _opened,
    Transition.Kind.STILL_FIRING: _still_firing,
    Transition.Kind.RESOLVED: _resolved,
}


def _unresolved(transition: Transition) -> Incident | None:
    incidents = Incident.objects.filter(rule=transition.rule, model=transition.model)
    return (
        incidents.exclude(status=Incident.Status.RESOLVED)
        .select_for_update(of=("self",))
        .select_related("model__project", "rule", "opened_by", "acknowledged_by")
        .first()
    )


def _close(incident: Incident, transition: Transition, *, at: datetime, text: str, actor: str = "") -> None:
    """Resolve an incident and tell those who know of it."""
    incident.status, incident.resolved_at = Incident.Status.RESOLVED, at
    incident.save(update_fields=["status", "resolved_at"])
    _note(incident, "resolved", text, event_time=at, actor=actor)
    notified = notified_channels(incident)
    addressed = (
        Channel.objects.filter(enabled=True, deliveries__incident=incident)
        .distinct()
        .select_related("project")
    )
    silenced = _silenced(incident, at)
    _tell(
        incident,
        transition,
        RESOLVED,
        [channel for channel in addressed if channel.pk in notified],
        withheld=silenced,
    )
    _tell(
        incident,
        transition,
        RESOLVED,
        [channel for channel in addressed if channel.pk not in notified],
        withheld=silenced or "This channel was not told of the opening either.",
    )


def _tell(
    incident: Incident, transition: Transition, event: str, channels: Sequence[Channel], *, withheld: str = ""
) -> None:
    if not channels:
        return
    story = gather(
        event=event,
        event_id=f"evt_{new_id().replace('-', '')}",
        at=database_time(),
        incident=incident,
        transition=transition,
        ongoing=_ongoing(transition),
    )
    for channel in channels:
        write_delivery(
            channel=channel,
            event=event,
            event_id=story.event_id,
            message=KINDS[channel.kind].compose(story, channel),
            incident=incident,
            withheld=withheld,
        )
    if not withheld:
        enqueue(Task.DELIVER)


def _takers(incident: Incident) -> list[Channel]:
    """List the enabled channels that take incidents of this severity."""
    up_to = Severity.values[: Severity.values.index(incident.severity) + 1]
    channels = Channel.objects.filter(project=incident.project, enabled=True, min_severity__in=up_to)
    channels = channels.exclude(kind=Channel.Kind.CALLBACK)
    return list(channels.select_related("project").order_by("pk"))


def _withheld(transition: Transition) -> str:
    """Say why nobody is told: the window is old news, or somebody silenced it. Empty when people are told."""
    age = database_time() - transition.window_end
    if age > transition.rule.notify_within:
        return (
            f"The window ended {duration(age)} ago; this rule notifies within "
            f"{duration(transition.rule.notify_within)}."
        )
    return _silenced(transition, transition.window_end)


def _silenced(subject: Transition | Incident, at: datetime) -> str:
    silences = Silence.objects.filter(
        Q(model=None) | Q(model=subject.model), project=subject.model.project, start__lt=at, end__gte=at
    )
    silence = silences.order_by("-end").first()
    return "" if silence is None else f"Silenced until {moment(silence.end)}: {silence.reason}"


def _ongoing(transition: Transition) -> list[str]:
    """Ask the roof; an alert without these lines is better than none."""
    try:
        with transaction.atomic():
            return describe_ongoing(transition)
    except Exception:
        log.exception("describe_ongoing failed", extra={"transition": transition.pk})
        return []


def _observation(transition: Transition) -> str:
    value, threshold = format_pair(transition.value, transition.threshold)
    beyond = transition.value is not None and transition.rule.is_breached_by(transition.value)
    stands = transition.rule.operator if beyond else f"no longer {transition.rule.operator}"
    return f"{measured(transition)} {value} {stands} {threshold} on {transition.n:,} rows"


def _note(
    incident: Incident, kind: str, text: str, *, event_time: datetime | None = None, actor: str = ""
) -> IncidentEvent:
    return IncidentEvent.objects.create(
        incident=incident, kind=kind, text=one_line(text)[:500], event_time=event_time, actor=actor
    )


# -- people --------------------------------------------------------------------------------------------------
def acknowledge(*, incident: Incident, actor: str, user: User | None, now: datetime) -> Incident:
    """Note that somebody looks after an incident; doing it twice changes nothing."""
    with transaction.atomic():
        incident = _locked(incident)
        if incident.status == Incident.Status.RESOLVED:
            raise Problem(409, "incident_resolved", f"INC-{incident.pk} is resolved already.")
        if incident.status == Incident.Status.OPEN:
            incident.status = Incident.Status.ACKNOWLEDGED
            incident.acknowledged_at, incident.acknowledged_by = now, user
            incident.save(update_fields=["status", "acknowledged_at", "acknowledged_by"])
            _note(incident, "acknowledged", f"Acknowledged by {actor}", actor=actor)
            _audit(incident, actor, "incident.acknowledge")
    return incident


def resolve(*, incident: Incident, actor: str, now: datetime) -> Incident:
    """Close an incident by hand; it opens anew when its rule still fires at the end of the cooldown."""
    with transaction.atomic():
        incident = _locked(incident)
        if incident.status != Incident.Status.RESOLVED:
            _close(incident, incident.opened_by, at=now, text=f"Resolved by {actor}", actor=actor)
            _audit(incident, actor, "incident.resolve")
    return incident


def _locked(incident: Incident) -> Incident:
    return (
        Incident.objects.select_for_update(of=("self",))
        .select_related(
            "project", "model__project", "rule", "opened_by__rule", "opened_by__model", "acknowledged_by"
        )
        .get(pk=incident.pk)
    )


def _audit(incident: Incident, actor: str, action: str) -> None:
    record_audit(
        project=incident.project,
        actor=actor,
        action=action,
        subject=f"INC-{incident.pk} {incident.title}"[:200],
    )


# -- silences ------------------------------------------------------------------------------------------------
def create_silence(
    *, project: Project, model: Model | None, start: datetime, end: datetime, reason: str, actor: str
) -> Silence:
    """Mute notifications of windows that end within (start, end], in event time; None mutes every model."""
    if end <= start:
        raise invalid("/end", "The silence ends before it starts; use a later end.")
    if end - start > MAX_SILENCE:
        raise invalid("/end", f"The silence lasts longer than {MAX_SILENCE.days} days; use an earlier end.")
    if not 0 < len(one_line(reason)) <= 200:
        raise invalid("/reason", "Say in 1 to 200 characters why this is muted.")
    with transaction.atomic():
        silence = Silence.objects.create(
            project=project, model=model, start=start, end=end, reason=one_line(reason), created_by=actor
        )
        record_audit(
            project=project,
            actor=actor,
            action="silence.create",
            subject=silence.reason,
            after={"model": model and model.name, "start": start.isoformat(), "end": end.isoformat()},
        )
    return silence


def delete_silence(*, silence: Silence, actor: str) -> None:
    """Let notifications through again."""
    with transaction.atomic():
        record_audit(project=silence.project, actor=actor, action="silence.delete", subject=silence.reason)
        silence.delete()
