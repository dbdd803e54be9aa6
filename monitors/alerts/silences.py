"""Silences: make one, see before what it mutes, end it early, and find those that are active.

A silence is judged in event time: it mutes what is found in windows that end within it, however late that is found. It
never changes the state: incidents open and resolve as ever.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid
from driftline.base.periods import window
from inference.prediction_log.queries.event_clock import event_now, event_nows
from inference.registry.models import Model
from monitors.alerts.incidents.labels import check_matchers, has_labels
from monitors.alerts.incidents.timeline import note
from monitors.alerts.models import Incident, Silence
from monitors.alerts.selectors import open_incidents, worst_first
from monitors.alerts.wording import moment, one_line
from monitors.rules.models import Rule, Severity

MAX_SILENCE = timedelta(days=366)
ACTIVE, COMING, ENDED = "active", "coming", "ended"


@dataclass(frozen=True)
class MutedRule:
    """A rule, and when the first of its windows that a silence could mute ends."""

    rule: Rule
    window_end: datetime
    is_muted: bool


@dataclass(frozen=True)
class SilencePreview:
    """What a silence mutes: open incidents, worst first, and rules, those that are muted first."""

    incidents: list[Incident]
    rules: list[MutedRule]

    @property
    def muted(self) -> list[MutedRule]:
        return [one for one in self.rules if one.is_muted]

    @property
    def mutes_nothing_until(self) -> datetime | None:
        """Return when the first window ends, where none ends within the silence; None where one does."""
        if not self.rules or self.muted:
            return None
        return min(one.window_end for one in self.rules)


def create_silence(
    *,
    project: Project,
    model: Model | None,
    start: datetime,
    end: datetime,
    reason: str,
    actor: str,
    matchers: Mapping[str, str] | None = None,
    incident: Incident | None = None,
) -> Silence:
    """Mute notifications of windows that end within (start, end], in event time; None mutes every model.

    `matchers` narrow it to alerts with these labels. The timeline of the `incident` that it is made for says so.
    """
    check_matchers(matchers or {})
    if end <= start:
        raise invalid("/end", "The silence ends before it starts; use a later end.")
    if end - start > MAX_SILENCE:
        raise invalid("/end", f"The silence lasts longer than {MAX_SILENCE.days} days; use an earlier end.")
    if not 0 < len(one_line(reason)) <= 200:
        raise invalid("/reason", "Say in 1 to 200 characters why this is muted.")
    with transaction.atomic():
        silence = Silence.objects.create(
            project=project,
            model=model,
            matchers=matchers or {},
            start=start,
            end=end,
            reason=one_line(reason),
            created_by=actor,
        )
        _audit(silence, actor, "silence.create")
        if incident is not None:
            note(incident, "silenced", f"Silenced until {moment(end)} by {actor}: {reason}", actor=actor)
    return silence


def end_silence(*, silence: Silence, actor: str, now: datetime) -> None:
    """Send notifications again: an active silence ends now and stays listed, one that has not begun is deleted.

    Raises a 409 `Problem` where it has ended already.
    """
    with transaction.atomic():
        silence = (
            Silence.objects.select_for_update(of=("self",))
            .select_related("project", "model")
            .get(pk=silence.pk)
        )
        at = clock_of(silence.model, now=now)
        state = state_at(silence, at)
        if state == ENDED:
            raise Problem(409, "silence_ended", "The silence has ended already; make a new one.")
        if state == COMING:
            _audit(silence, actor, "silence.delete")
            silence.delete()
            return
        silence.end, silence.ended_by = at, actor
        silence.save(update_fields=["end", "ended_by"])
        _audit(silence, actor, "silence.end")


def preview_silence(
    *,
    project: Project,
    model: Model | None,
    start: datetime,
    end: datetime,
    matchers: Mapping[str, str] | None = None,
) -> SilencePreview:
    """List what a silence of `(start, end]` would mute now: open incidents, and enabled rules.

    With `matchers`, incidents of which it mutes all alerts, and rules with alerts that may have these labels.
    """
    asked = matchers or {}
    incidents = open_incidents(project=project)
    rules = Rule.objects.filter(project=project, enabled=True, model__archived_at=None)
    if model is not None:
        incidents, rules = incidents.filter(model=model), rules.filter(model=model)
    muted = [
        _muted_rule(rule, start, end)
        for rule in rules.select_related("model").order_by("model", "name")
        if _may_have(rule, asked)
    ]
    found = [
        incident
        for incident in worst_first(incidents)
        if all(has_labels(alert.labels, asked) for alert in incident.alerts.all())
    ]
    return SilencePreview(incidents=found, rules=sorted(muted, key=lambda one: not one.is_muted))


def _muted_rule(rule: Rule, start: datetime, end: datetime) -> MutedRule:
    first = window(start, rule.judged_span).end
    return MutedRule(rule, first, is_muted=first <= end)


def _may_have(rule: Rule, matchers: Mapping[str, str]) -> bool:
    """Return whether alerts of a rule may have these labels: those of any of its comparisons, and of any feature where
    that looks at all."""
    severities = {rule.severity, *([Severity.CRITICAL] if rule.critical_threshold is not None else [])}
    return any(
        has_labels(
            {
                "rule": rule.name,
                "metric": term.metric,
                "feature": matchers.get("feature", "*") if term.feature == "*" else term.feature,
                "segment": term.segment,
                "severity": severity,
            },
            matchers,
        )
        for term in rule.terms
        for severity in severities
    )


def active_silences(model: Model, *, now: datetime) -> list[Silence]:
    """List the silences that a model is in, by its own event time; the one that ends last first."""
    begun = Silence.objects.filter(Q(model=model) | Q(model=None), project=model.project_id, start__lt=now)
    if not begun.exists():
        return []
    clock = event_now(model=model, now=now)
    return list(begun.filter(start__lt=clock, end__gt=clock).order_by("-end", "-pk"))


def with_states(silences: Iterable[Silence], *, now: datetime) -> list[tuple[str, Silence]]:
    """Return each silence with its state: by the event time of its model, or by the clock where it is of all models."""
    listed = list(silences)
    models = Model.objects.filter(pk__in={silence.model_id for silence in listed if silence.model_id})
    clocks = event_nows(models=models, now=now)
    return [(state_at(silence, clocks.get(silence.model_id or 0, now)), silence) for silence in listed]


def state_at(silence: Silence, clock: datetime) -> str:
    """Return whether a silence is active, coming or ended."""
    if clock <= silence.start:
        return COMING
    return ACTIVE if clock < silence.end else ENDED


def clock_of(model: Model | None, *, now: datetime) -> datetime:
    """Return the event time of a model; of all models the machine's."""
    return now if model is None else event_now(model=model, now=now)


def _audit(silence: Silence, actor: str, action: str) -> None:
    record_audit(
        project=silence.project,
        actor=actor,
        action=action,
        subject=silence.reason,
        after={
            "model": silence.model and silence.model.name,
            "matchers": silence.matchers,
            "start": silence.start.isoformat(),
            "end": silence.end.isoformat(),
        },
    )
