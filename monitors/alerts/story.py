"""Everything that a message may tell about an incident, gathered once and worded for every channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from driftline.base.number_format import format_number
from driftline.base.periods import counted
from inference.registry.models import Deployment, DeploymentChange
from monitors.alerts.incidents.way_back import CHANGES_WITHIN
from monitors.alerts.models import Alert, Channel, Incident
from monitors.alerts.sending.links import Act, acts_on_offer, link_of
from monitors.alerts.wording import (
    at_worst,
    compared,
    duration,
    evidence_of,
    measured,
    moment,
    sentence_of_run,
    shortened,
    silence,
    silent_since,
    since_range,
)
from monitors.definitions.choosing import active_reference, described
from monitors.definitions.models import Reference
from monitors.metrics.answers.quality_effect import QualityEffect, quality_effects
from monitors.metrics.explaining.change_points import sentence_of
from monitors.metrics.selectors import change_points
from monitors.rules.judging.judge import judged_since
from monitors.rules.models import Rule, Transition

OPENED = "incident.opened"
UPDATED = "incident.updated"
REMINDER = "incident.reminder"
RESOLVED = "incident.resolved"
ACKNOWLEDGED = "incident.acknowledged"
TEST = "test"
RUNBOOK = "Runbook"
"""The fact that has an address as its value."""

MAX_CAUSES = 3
MAX_CHANGES = 3
MAX_HEADLINE, MAX_LINE, MAX_LINES, MAX_SECTION = 1_500, 500, 10, 2_000


@dataclass(frozen=True)
class Story:
    """One event of an incident: `transition` is the window that it tells of, with the `causes` of that window (of the
    end of an incident those of its beginning); `worst` is the worst value so far."""

    event: str
    event_id: str
    at: datetime
    incident: Incident
    transition: Transition
    champion: str | None
    reference: Reference | None
    worst: float | None
    alerts: Sequence[Alert]
    causes: Sequence[dict[str, Any]]
    ongoing: Sequence[str]
    changes: Sequence[str]
    effects: Sequence[QualityEffect]
    acts: Sequence[tuple[Act, str]]

    @property
    def rule(self) -> Rule:
        """The rule, of one with a condition as if it had the comparison alone that decides."""
        return self.transition.deciding

    @property
    def coverage(self) -> float | None:
        """The share of the window's predictions that have a label, where the metric needs labels."""
        coverage = (self.transition.detail.get("point") or {}).get("coverage")
        return coverage if isinstance(coverage, int | float) else None

    @property
    def headline(self) -> str:
        """The whole story in one sentence, for the first line of a phone's preview."""
        if self.event == RESOLVED:
            return self._headline_of_end()
        if sentence := sentence_of_run(self.transition):
            return sentence
        if since := silent_since(self.transition):
            lasted = duration(self.transition.window_end - since)
            unlikely = "by the same hours of the weeks before, a chance of less than one in a million"
            return f"{self.incident.model.name} got {silence(self.transition)}, for {lasted}: {unlikely}."
        if self.transition.lacks_data:
            return (
                f"There is no data for {measured(self.transition)} of {self.incident.model.name} "
                f"between {moment(self.transition.window_start)} and {moment(self.transition.window_end)}; "
                f"since {moment(self.transition.since)}."
            )
        value, threshold = compared(self.transition)
        return (
            f"{measured(self.transition)} of {self.incident.model.name} is {value}, "
            f"{self.rule.operator} {threshold}, on {counted(self.transition.n, 'row')} "
            f"between {moment(self.transition.window_start)} and {moment(self.transition.window_end)}; "
            f"since {moment(self.transition.since)}."
        )

    def _headline_of_end(self) -> str:
        assert self.incident.resolved_at is not None
        if self.incident.close_reason:
            return (
                f"{self.incident.close_reason}: {self.incident.title}; since {moment(self.incident.since)}."
            )
        since = silent_since(self.incident.opening)
        if since and self.rule.metric == self.incident.rule.metric:
            end = self.transition.window_start
            return (
                f"{self.incident.model.name} gets predictions again: it got none, or next to none, "
                f"from {moment(since)} to {moment(end)} ({duration(end - since)})."
            )
        lasted = duration(self.incident.resolved_at - self.incident.since)
        worst = "" if self.worst is None else f" {at_worst(self.incident.opening, self.worst)}."
        return f"Resolved after {lasted}: {self.incident.title}.{worst}"

    @property
    def facts(self) -> list[tuple[str, str]]:
        """Name and value of what describes the incident, in reading order."""
        facts = [
            ("Severity", self.incident.severity),
            (
                "Model",
                self.incident.model.name + (f", champion version {self.champion}" if self.champion else ""),
            ),
            ("Since", f"{moment(self.incident.since)} {since_range(self.incident)}".strip()),
            ("Detected", moment(self.incident.detected)),
        ]
        if self.incident.closed_at:
            facts.append(("Closed", f"{moment(self.incident.closed_at)} by {self.incident.closed_by}"))
        elif self.incident.resolved_at:
            facts.append(("Resolved", moment(self.incident.resolved_at)))
        if evidence := evidence_of(self.transition):
            facts.append(("Evidence", evidence))
        facts += [("Quality", effect.sentence) for effect in self.effects]
        if self.coverage is not None:
            facts.append(("Label coverage", f"{self.coverage:.0%}"))
        if self.incident.acknowledged_by:
            facts.append(("Acknowledged by", str(self.incident.acknowledged_by)))
        if self.incident.assignee:
            facts.append(("Assigned to", str(self.incident.assignee)))
        if self.rule.runbook:
            facts.append((RUNBOOK, self.rule.runbook))
        if self.reference:
            facts.append(
                ("Reference", f"{self.reference.description}, of version {self.reference.version.version}")
            )
        return facts

    @property
    def reference_detail(self) -> dict[str, Any] | None:
        """What its windows are compared with, by the names of the API; of a file its number of rows as well."""
        if self.reference is None:
            return None
        rows = {"rows": self.reference.dataset.rows} if self.reference.dataset else {}
        return {**described(self.reference), **rows}

    @property
    def alert_lines(self) -> list[str]:
        """The alerts of the incident, the oldest first, where it has several."""
        if len(self.alerts) < 2:
            return []
        return [
            f"{alert.title} ({alert.severity}, {alert.state}), since {moment(alert.since)}"
            for alert in self.alerts
        ]

    @property
    def fault_lines(self) -> list[str]:
        """What is broken in the data, which is to be mended before anything is learnt from them."""
        return [describe_cause(cause) for cause in self.top_causes if cause.get("kind") == "fault"]

    @property
    def cause_lines(self) -> list[str]:
        return [describe_cause(cause) for cause in self.top_causes if cause.get("kind") != "fault"]

    @property
    def sections(self) -> list[tuple[str, list[str]]]:
        """What is behind it and what is done about it, each under its heading; what there is nothing of is left out."""
        sections = (
            ("Broken data", self.fault_lines),
            ("Likely causes (not proven)", self.cause_lines),
            ("What Driftline is doing", [*self.ongoing] or self._nothing_ongoing),
            ("What changed lately", [*self.changes]),
        )
        return [(heading, shortened_lines(lines)) for heading, lines in sections if lines]

    @property
    def _nothing_ongoing(self) -> list[str]:
        return [] if self.event == RESOLVED else ["Nothing by itself: no retrain run is under way."]

    @property
    def text(self) -> str:
        """The headline and the sections as lines, for what shows one text alone."""
        lines = [shortened(f"{heading}: {'; '.join(lines)}", MAX_SECTION) for heading, lines in self.sections]
        return "\n".join([shortened(self.headline, MAX_HEADLINE), *lines])

    @property
    def top_causes(self) -> Sequence[dict[str, Any]]:
        return self.causes[:MAX_CAUSES]

    def links(self, channel: Channel) -> dict[Act, tuple[str, str]]:
        """Return the links that act on the incident for whoever reads `channel`, each with its words."""
        return {act: (words, link_of(act, self.incident, channel, at=self.at)) for act, words in self.acts}

    @property
    def url(self) -> str:
        return incident_url(self.incident)


def gather(
    *,
    event: str,
    event_id: str,
    at: datetime,
    incident: Incident,
    transition: Transition,
    causes: Sequence[dict[str, Any]],
    ongoing: Sequence[str],
) -> Story:
    """Collect the facts around an event of an incident from what is stored."""
    deployment = Deployment.objects.select_related("champion").filter(model=incident.model).first()
    return Story(
        event=event,
        event_id=event_id,
        at=at,
        incident=incident,
        transition=transition,
        champion=deployment.champion.version if deployment and deployment.champion else None,
        reference=active_reference(
            model=incident.model,
            version_id=deployment.champion_id if deployment else None,
            at=incident.opening.window_start,
        ),
        worst=worst_value(incident, until=incident.resolved_at or transition.window_end),
        alerts=list(incident.alerts.select_related("rule").order_by("pk")),
        causes=causes,
        ongoing=ongoing,
        changes=_change_lines(incident),
        effects=effects_of(incident, transition),
        acts=acts_on_offer(incident),
    )


def effects_of(incident: Incident, transition: Transition) -> list[QualityEffect]:
    """Return what a transition's window did to the quality of all answers, and of those of the segments of its causes.

    Only declared segments have points of their own; one that a search found is declared if it is a value of a feature.
    """
    segments = [cause["segment"].replace(" = ", ":", 1) for cause in incident.causes if cause.get("segment")]
    return quality_effects(
        model=incident.model,
        span=transition.rule.judged_span,
        start=transition.window_start,
        since=incident.since,
        segments=segments[:MAX_CAUSES],
    )


def worst_value(incident: Incident, *, until: datetime) -> float | None:
    """Find the value farthest on the wrong side of the threshold since the problem began, in ripe windows that the
    rule judged."""
    opening = incident.opening
    judged = judged_since(opening.since, opening)
    values = [point.value for point in judged if point.end <= until and point.value is not None]
    if not values:
        return opening.value
    return max(values) if opening.deciding.operator == Rule.Operator.ABOVE else min(values)


def incident_url(incident: Incident) -> str:
    return f"{incident.project.url}/incidents/{incident.pk}"


def channels_url(channel: Channel) -> str:
    return f"{channel.project.url}/settings/channels"


def describe_cause(cause: dict[str, Any]) -> str:
    """Write a likely cause with its score and what shows it."""
    name = cause.get("feature") or cause.get("segment") or "unknown"
    score = cause.get("score")
    suffix = f" (score {format_number(score)})" if isinstance(score, int | float) else ""
    evidence = f": {cause['evidence']}" if cause.get("evidence") else ""
    return f"{name}{suffix}{evidence}"


def _change_lines(incident: Incident) -> list[str]:
    """Return what changed shortly before: deployments, then the errors of the versions that answer."""
    deployed = [_change_line(change) for change in _recent_changes(incident)]
    errors = change_points(
        model=incident.model, start=incident.opened_at - CHANGES_WITHIN, end=incident.opened_at
    )
    noticed = [f"{moment(change.at)}: {sentence_of(change)}" for change in errors[:MAX_CHANGES]]
    return deployed + noticed


def _recent_changes(incident: Incident) -> QuerySet[DeploymentChange]:
    """What changed shortly before; the first deployment changed nothing."""
    since = incident.opened_at - CHANGES_WITHIN
    changes = DeploymentChange.objects.filter(model=incident.model, event_time__gte=since).exclude(
        kind="first"
    )
    return changes.order_by("-event_time", "-pk")[:MAX_CHANGES]


def _change_line(change: DeploymentChange) -> str:
    difference = _difference(change.before, change.after)
    return f"{moment(change.event_time)}: {change.kind} by {change.actor}, {difference}"


def _difference(before: dict[str, Any], after: dict[str, Any]) -> str:
    if before.get("champion") != after.get("champion"):
        return f"champion {before.get('champion') or 'none'} to {after.get('champion') or 'none'}"
    return f"shadows {', '.join(after.get('shadows') or ['none'])}"


def shortened_lines(lines: Sequence[str]) -> list[str]:
    """Return the first lines of a list, each cut, and how many more there are."""
    more = len(lines) - MAX_LINES
    shown = [shortened(line, MAX_LINE) for line in lines[:MAX_LINES]]
    return [*shown, f"and {more:,} more"] if more > 0 else shown
