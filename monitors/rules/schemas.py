"""What the API answers about rules."""

from typing import Annotated, Self

from driftline.common.responses import ResponseBody, Time, one_of
from monitors.rules.models import Rule, RuleState, Severity
from monitors.rules.reach import Reach


class RuleOut(ResponseBody, frozen=True):
    """A rule and where it stands; durations in seconds of event time.

    `judged_span` is that of the windows it judges now, which with the `span` auto follow the traffic. Where it cannot
    fire in the present traffic, or only on a proven breach, `cannot_fire_because` says so and why.
    """

    id: int
    model: str
    name: str
    metric: str
    feature: str
    segment: str
    span: str
    judged_span: str
    operator: Annotated[str, one_of(Rule.Operator)]
    threshold: float
    for_windows: int
    of_windows: int | None
    recovery_threshold: float | None
    recover_windows: int
    min_rows: int
    severity: Annotated[str, one_of(Severity)]
    action: Annotated[str, one_of(Rule.Action)]
    enabled: bool
    cooldown: float
    notify_within: float
    standing: Annotated[str, one_of(RuleState.Standing)]
    cannot_fire_because: str | None
    judged_until: Time | None
    created_at: Time

    @classmethod
    def of(cls, rule: Rule, reach: Reach | None = None) -> Self:
        """Write a rule, of a queryset that has selected its model and state; many are written with one `reach`."""
        silent = (reach or Reach([rule])).cannot_fire_because(rule) if rule.enabled else ""
        state = rule.state if hasattr(rule, "state") else None
        return cls(
            id=rule.pk,
            model=rule.model.name,
            name=rule.name,
            metric=rule.metric,
            feature=rule.feature,
            segment=rule.segment,
            span=rule.span,
            judged_span=rule.judged_span,
            operator=rule.operator,
            threshold=rule.threshold,
            for_windows=rule.for_windows,
            of_windows=rule.of_windows,
            recovery_threshold=rule.recovery_threshold,
            recover_windows=rule.recover_windows,
            min_rows=rule.min_rows,
            severity=rule.severity,
            action=rule.action,
            enabled=rule.enabled,
            cooldown=rule.cooldown.total_seconds(),
            notify_within=rule.notify_within.total_seconds(),
            standing=state.standing if state else RuleState.Standing.NORMAL,
            cannot_fire_because=silent or None,
            judged_until=state.judged_until if state else None,
            created_at=rule.created_at,
        )


class AddedRulesOut(ResponseBody, frozen=True):
    """The default rules that were missing."""

    items: list[RuleOut]


class FiringWindowOut(ResponseBody, frozen=True):
    """A window in which a rule would have fired."""

    start: Time
    end: Time
    value: float | None
    n: int


class BacktestOut(ResponseBody, frozen=True):
    """When a rule would have fired in the stored past, of how many windows; `note` says why there are none."""

    would_fire: list[FiringWindowOut]
    windows: int
    note: str
