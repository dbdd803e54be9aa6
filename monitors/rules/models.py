"""Rules over metric points, where each stands, and the transitions that alerts and workflows read."""

from collections.abc import Mapping
from copy import copy
from datetime import datetime, timedelta
from typing import Any, Self

from django.core.validators import MinValueValidator
from django.db import models
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.periods import Period, counted, earlier, is_window, longest, overlap
from inference.registry.models import Model
from monitors.definitions.monitors import AUTO
from monitors.metrics.catalogue import METRICS
from monitors.metrics.store.models import MetricPoint
from monitors.rules.judging.condition_trees import (
    ConditionTree,
    FixedThreshold,
    OwnLimit,
    Term,
    parse_condition,
    terms_of,
)
from monitors.rules.judging.conditions import NoDataPolicy
from monitors.stats.performance.estimate import proves_beyond

_PLAIN = (
    "name", "metric", "feature", "segment", "span", "judged_span", "operator", "threshold", "for_windows", "of_windows",
    "recovery_threshold", "critical_threshold", "recover_windows", "min_rows", "no_data", "severity", "action",
    "enabled", "description", "owner", "runbook", "condition",
)  # fmt: skip
_DURATIONS = ("cooldown", "notify_within")
"""The fields of a rule's snapshot."""
_DAY = timedelta(days=1)


class Severity(models.TextChoices):
    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


class Rule(models.Model):
    """When a metric of a model is beyond a threshold for some windows: open an incident, maybe start a run.

    A rule with a `condition` asks for more than one metric beyond one threshold; its metric, feature, segment and
    operator are those of the first comparison in it.
    """

    class Operator(models.TextChoices):
        ABOVE = "above"
        BELOW = "below"

    class Action(models.TextChoices):
        NOTIFY = "notify", "Open an incident and notify"
        RETRAIN = "retrain", "Also start a retrain run"

    class NoData(models.TextChoices):
        KEEP = NoDataPolicy.KEEP.value, "Nothing: wait for the next one"
        ALERT = NoDataPolicy.ALERT.value, "That something is wrong"
        OK = NoDataPolicy.OK.value, "That all is well"

    project = models.ForeignKey(Project, models.CASCADE, related_name="rules")
    model = models.ForeignKey(Model, models.CASCADE, related_name="rules")
    name = models.CharField(max_length=120)
    metric = models.CharField(max_length=40)
    feature = models.CharField(max_length=200, blank=True)
    segment = models.CharField(max_length=200, blank=True)
    condition = models.JSONField(
        null=True, blank=True, help_text="a tree of comparisons; empty: the one here"
    )
    span = models.CharField(
        max_length=8,
        default="auto",
        help_text="hour, day, week, month, 7d and its like, or auto: its monitor's",
    )
    judged_span = models.CharField(
        max_length=8, default="day", editable=False, help_text="of its windows now"
    )
    operator = models.CharField(max_length=5, choices=Operator, default=Operator.ABOVE)
    threshold = models.FloatField()
    for_windows = models.IntegerField(
        default=1,
        validators=[MinValueValidator(1)],
        help_text="windows beyond the threshold, by default in a row",
    )
    of_windows = models.IntegerField(
        null=True, blank=True, help_text="among how many in a row they may lie; empty: each of them is one"
    )
    recovery_threshold = models.FloatField(
        null=True, blank=True, help_text="what a good window has to reach; empty: the threshold"
    )
    critical_threshold = models.FloatField(
        null=True, blank=True, help_text="beyond which an incident is critical; empty: no value is"
    )
    recover_windows = models.IntegerField(
        default=2, validators=[MinValueValidator(1)], help_text="good windows in a row that resolve"
    )
    min_rows = models.IntegerField(default=200, validators=[MinValueValidator(1)])
    no_data = models.CharField(
        max_length=5,
        choices=NoData,
        default=NoData.KEEP,
        db_default=NoData.KEEP,
        help_text="what a window says in which the metric has no value, or too few rows",
    )
    cooldown = models.DurationField(help_text="event time after which a rule that still fires acts again")
    notify_within = models.DurationField(help_text="a newest window that ended longer ago notifies nobody")
    severity = models.CharField(max_length=8, choices=Severity, default=Severity.WARNING)
    action = models.CharField(max_length=8, choices=Action, default=Action.NOTIFY)
    enabled = models.BooleanField(default=True)
    description = models.CharField(max_length=1000, blank=True, help_text="what it means when it fires")
    owner = models.CharField(max_length=200, blank=True, help_text="who answers for it")
    runbook = models.CharField(
        max_length=500, blank=True, help_text="the address of what to do, http or https"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "name"], name="rule_name_once_a_model")]

    def __str__(self) -> str:
        return self.name

    def snapshot(self) -> dict[str, Any]:
        """Return the rule in plain values, for what outlives it; `of_snapshot` reads them."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return plain | {name: getattr(self, name).total_seconds() for name in _DURATIONS}

    @classmethod
    def of_snapshot(cls, snapshot: Mapping[str, Any], model: Model) -> Self:
        """Return a rule that is not stored, as it was when its snapshot was taken."""
        durations = {name: timedelta(seconds=snapshot[name]) for name in _DURATIONS}
        plain = {name: snapshot[name] for name in _PLAIN if name in snapshot}  # older ones have fewer
        return cls(model=model, **plain, **durations)

    @property
    def tree(self) -> ConditionTree:
        """The condition as a tree; of a rule without one, its metric against its threshold."""
        if self.condition is not None:
            return parse_condition(self.condition)
        return Term(self.metric, self.feature, self.segment, self.operator, FixedThreshold(self.threshold))

    @property
    def terms(self) -> list[Term]:
        """The comparisons of the condition, as they are written."""
        return list(terms_of(self.tree))

    @property
    def looks_at_every_window(self) -> bool:
        """Whether a window counts in which its metric has no point although the model was measured."""
        return self.condition is not None or self.no_data != self.NoData.KEEP

    def of_term(self, term: Term, threshold: float) -> Self:
        """Return the rule, not stored, as if it had this one comparison alone, against what its right side was."""
        alone = copy(self)
        alone.condition, alone.threshold = None, threshold
        alone.metric, alone.feature, alone.segment = term.metric, term.feature, term.segment
        alone.operator = operator_of(term)
        return alone

    def is_breached_by(self, value: float) -> bool:
        return is_beyond(value, self.threshold, self.operator)

    def is_critical_at(self, value: float | None) -> bool:
        """Return whether a value is beyond the critical threshold, where there is one."""
        limit = self.critical_threshold
        return limit is not None and value is not None and is_beyond(value, limit, self.operator)

    def severity_at(self, value: float | None) -> str:
        """Return how severe a breach with this value is."""
        return str(Severity.CRITICAL if self.is_critical_at(value) else self.severity)

    def is_recovered_by(self, value: float) -> bool:
        if self.recovery_threshold is None:
            return not self.is_breached_by(value)
        is_above = self.operator == self.Operator.ABOVE
        return value <= self.recovery_threshold if is_above else value >= self.recovery_threshold

    @property
    def needed_windows(self) -> int:
        """How many of the judged windows have to be beyond the threshold for the rule to fire."""
        return self._in_judged_windows(self.for_windows)

    @property
    def among_windows(self) -> int:
        """Among how many windows in a row `needed_windows` have to be beyond the threshold."""
        return self._in_judged_windows(self.of_windows or self.for_windows)

    def _in_judged_windows(self, windows: int) -> int:
        """Return how many judged windows so many windows are: for a rule on `auto` they are days where its monitor
        judges by the week or the month."""
        if self.span != AUTO:
            return windows
        step = longest(self.judged_span) - overlap(self.judged_span)
        return -(-windows * _DAY // max(step, _DAY))

    @property
    def asked_windows(self) -> str:
        """How many windows have to be beyond the threshold, in words: `2 days`, or `3 of 5 days`."""
        among = counted(self.among_windows, self.judged_span)
        return among if self.among_windows == self.needed_windows else f"{self.needed_windows} of {among}"

    def breaks(self, point: MetricPoint) -> bool | None:
        """Return whether a point is beyond the threshold; None where it has no value or too few rows to be judged."""
        return self.breaks_at(point, self.threshold, self.operator)

    def breaks_at(self, point: MetricPoint, limit: float, operator: str) -> bool | None:
        """Return whether a point is beyond any limit, as `breaks` does."""
        if point.value is None:
            return None
        if self.has_too_few_rows(point) and not _proves(point, limit, operator):
            return None
        return is_beyond(point.value, limit, operator)

    def has_too_few_rows(self, point: MetricPoint) -> bool:
        """Return whether a point is of so few rows that only its interval can prove a breach."""
        return METRICS[point.metric].of_rows and point.n < self.min_rows

    def is_proven_by(self, point: MetricPoint) -> bool:
        """Return whether a point's interval proves a breach, so that no rows are too few."""
        return _proves(point, self.threshold, self.operator)


def is_beyond(value: float, limit: float, operator: str) -> bool:
    """Return whether a value is on the bad side of a limit."""
    return value > limit if operator == Rule.Operator.ABOVE else value < limit


def _proves(point: MetricPoint, limit: float, operator: str) -> bool:
    is_below = operator == Rule.Operator.BELOW
    return point.value is not None and proves_beyond(
        point.value, point.n, point.lower, point.upper, limit, is_below=is_below
    )


def operator_of(term: Term) -> str:
    """Return the side of its right side on which a comparison holds."""
    if isinstance(term.right, OwnLimit):
        return str(Rule.Operator.ABOVE if METRICS[term.metric].lower_is_better else Rule.Operator.BELOW)
    return term.operator


class RuleState(models.Model):
    """Where a rule stands, in event time."""

    class Standing(models.TextChoices):
        NORMAL = "normal"
        PENDING = "pending"
        FIRING = "firing"

    rule = models.OneToOneField(Rule, models.CASCADE, related_name="state")
    standing = models.CharField(max_length=8, choices=Standing, default=Standing.NORMAL)
    streak = models.IntegerField(default=0, help_text="windows that speak for a change of standing")
    recent = models.TextField(
        default="", db_default="", blank=True, help_text="of a rule that does not fire: see RuleProgress"
    )
    judged_until = models.DateTimeField(null=True, blank=True, help_text="end of the newest window judged")
    acted_until = models.DateTimeField(null=True, blank=True, help_text="end of the window that last acted")
    is_critical = models.BooleanField(
        default=False,
        db_default=False,
        help_text="whether it went beyond its critical threshold since it fires",
    )
    lacks_data = models.BooleanField(
        default=False, db_default=False, help_text="whether nothing is known of the newest window"
    )
    error = models.CharField(
        max_length=500, default="", db_default="", blank=True, help_text="why it could not be judged"
    )

    def __str__(self) -> str:
        return f"{self.rule}: {self.standing}"


class Transition(models.Model):
    """A rule changed its standing, or still fires when its cooldown ended. Alerts and workflows read this row."""

    class Kind(models.TextChoices):
        OPENED = "opened"
        WORSENED = "worsened"
        STILL_FIRING = "still_firing"
        RESOLVED = "resolved"

    rule = models.ForeignKey(Rule, models.CASCADE, related_name="transitions")
    model = models.ForeignKey(Model, models.CASCADE, related_name="transitions")
    kind = models.CharField(max_length=12, choices=Kind)
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    value = models.FloatField(null=True)
    n = models.BigIntegerField()
    threshold = models.FloatField()
    detail = models.JSONField(default=dict, help_text="what was known when it happened")
    at = models.DateTimeField(db_default=Now())
    alerts_done_at = models.DateTimeField(null=True, blank=True)
    workflows_done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "kind", "window_end"], name="one_transition_a_window")
        ]

    def __str__(self) -> str:
        return f"{self.rule} {self.kind} at {self.window_end:%Y-%m-%d %H}h"

    @property
    def deciding(self) -> Rule:
        """Its rule; of one with a condition, as if it had the comparison alone that decided over the window."""
        if (document := self.detail.get("comparison")) is None:
            return self.rule
        [term] = terms_of(parse_condition(document))
        return self.rule.of_term(term, self.threshold)

    @property
    def severity(self) -> str:
        """How severe the rule is by then: critical, once it was beyond its critical threshold."""
        return str(self.detail.get("severity") or self.rule.severity)

    @property
    def lacks_data(self) -> bool:
        """Whether it is about a window of which nothing was known."""
        return bool(self.detail.get("no_data"))

    @property
    def is_correction(self) -> bool:
        """Whether it ends what, by what is known now, never was."""
        return bool(self.detail.get("corrected"))

    @property
    def since(self) -> datetime:
        """The start of the first window of the run beyond the threshold that this one ends.

        Where that was not noted yet, it is the first of the windows in a row that the rule asks for: windows of the
        length of this one, whatever the rule judges by now.
        """
        if since := self.detail.get("since"):
            return datetime.fromisoformat(since)
        rule, span = self.rule, self.rule.judged_span
        if is_window(Period(self.window_start, self.window_end), span):
            return earlier(self.window_start, span, rule.among_windows - 1)
        more = (rule.of_windows or rule.for_windows) - 1
        return self.window_start - more * (self.window_end - self.window_start)
