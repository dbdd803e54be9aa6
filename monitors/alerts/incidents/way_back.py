"""The version that a roll-back leads to, where a promotion may be what an incident is about, and what came of one."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from driftline.base.number_format import format_number
from driftline.base.periods import counted, end_of, floor, following, in_a_row
from inference.prediction_log.models import PredictionRole
from inference.registry.models import DeploymentChange, Version
from monitors.alerts.models import Incident
from monitors.alerts.wording import ROLLOUT, moment
from monitors.metrics.catalogue import METRICS
from monitors.metrics.store.models import MetricPoint

CHANGES_WITHIN = timedelta(days=7)
"""How long before an incident a change may have caused it."""


def way_back(incident: Incident) -> Version | None:
    """Return the champion of before, where the last change before an unresolved incident was a promotion."""
    deployment = getattr(incident.model, "deployment", None)
    last = DeploymentChange.objects.filter(model=incident.model).order_by("-pk").first()
    if incident.rule.metric == ROLLOUT:
        return None  # the challenger is rolled back already
    if incident.status == Incident.Status.RESOLVED or deployment is None or last is None:
        return None
    is_near = incident.since - CHANGES_WITHIN <= last.event_time <= incident.opened_at
    return deployment.previous if last.kind == "promote" and is_near else None


@dataclass(frozen=True)
class VersionChange:
    """The last roll-back or promotion since an unresolved incident was opened, and how its metric is since.

    `at` and `ends_earliest` are event times; `newest` is the newest whole hour after the change that has a value.
    """

    incident: Incident
    change: DeploymentChange
    ends_earliest: datetime
    newest: MetricPoint | None

    @property
    def sentence(self) -> str:
        """What was done, when the incident may end, and the first figures since."""
        rule, version = self.incident.rule, self.change.after.get("champion")
        done = "Rolled back to" if self.change.kind == "rollback" else "Promoted"
        good = in_a_row(rule.recover_windows, rule.judged_span, "good ")
        labels = ", once their labels have come" if METRICS[rule.metric].needs_labels else ""
        return (
            f"{done} version {version}, {moment(self.change.event_time)}; the incident ends after {good}{labels}, "
            f"{moment(self.ends_earliest)} at the earliest. {self._figures}"
        )

    @property
    def _figures(self) -> str:
        rule = self.incident.rule
        if self.newest is None or self.newest.value is None:
            return "No whole hour since has a value yet."
        return (
            f"Since then {METRICS[rule.metric].title} was {format_number(self.newest.value)} on "
            f"{counted(self.newest.n, 'row')} in the hour from {moment(self.newest.start)}, limit "
            f"{format_number(rule.threshold)}."
        )


def change_since(incident: Incident) -> VersionChange | None:
    """Return the last change of the champion since an incident that is not resolved was opened, if there was one."""
    if incident.status == Incident.Status.RESOLVED or incident.rule.metric == ROLLOUT:
        return None
    changes = DeploymentChange.objects.filter(model=incident.model, at__gte=incident.created_at)
    change = changes.filter(kind__in=("rollback", "promote")).order_by("-pk").first()
    if change is None:
        return None
    rule = incident.rule
    start = floor(change.event_time, rule.judged_span)
    for _ in range(rule.recover_windows - 1):
        start = following(start, rule.judged_span)
    newest = MetricPoint.objects.filter(
        model=incident.model, metric=rule.metric, feature=rule.feature, segment=rule.segment, span="hour",
        role=PredictionRole.CHAMPION, version="", value__isnull=False,
        start__gte=following(floor(change.event_time, "hour"), "hour"),
    ).order_by("-start").first()  # fmt: skip
    return VersionChange(incident, change, end_of(start, rule.judged_span), newest)
