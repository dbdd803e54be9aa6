"""What the API answers about rules."""

from typing import Annotated, Any, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from monitors.rules.judging.reach import Reach
from monitors.rules.judging.states import StateName, explain_state
from monitors.rules.judging.windows import Window
from monitors.rules.models import Rule, RuleState, Severity


class RuleOut(ResponseBody, frozen=True):
    """A rule and where it stands; durations in seconds of event time.

    With a `condition`, `metric`, `feature`, `segment` and `operator` are those of its first comparison, and there is no
    `threshold`. `state` says more than `standing`: also `recovering`, which still fires, and `no_data` and `error`,
    which change no standing; `state_reason` says why. `judged_span` is that of the windows it judges now, which with
    the `span` auto follow the traffic. Where it cannot fire in the present traffic, or only on a proven breach,
    `cannot_fire_because` says so and why.
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
    threshold: float | None
    critical_threshold: float | None
    condition: dict[str, Any] | None
    for_windows: int
    of_windows: int | None
    recovery_threshold: float | None
    recover_windows: int
    min_rows: int
    no_data: Annotated[str, one_of(Rule.NoData)]
    severity: Annotated[str, one_of(Severity)]
    action: Annotated[str, one_of(Rule.Action)]
    enabled: bool
    description: str
    owner: str
    runbook: str | None
    cooldown: float
    notify_within: float
    standing: Annotated[str, one_of(RuleState.Standing)]
    state: Annotated[str, one_of(StateName)]
    state_reason: str
    is_critical: bool
    cannot_fire_because: str | None
    judged_until: Time | None
    created_at: Time

    @classmethod
    def of(cls, rule: Rule, reach: Reach | None = None) -> Self:
        """Write a rule, of a queryset that has selected its model and state; many are written with one `reach`."""
        silent = (reach or Reach([rule])).cannot_fire_because(rule) if rule.enabled else ""
        state = rule.state if hasattr(rule, "state") else None
        explained = explain_state(rule)
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
            threshold=rule.threshold if rule.condition is None else None,
            critical_threshold=rule.critical_threshold,
            condition=rule.condition,
            for_windows=rule.for_windows,
            of_windows=rule.of_windows,
            recovery_threshold=rule.recovery_threshold,
            recover_windows=rule.recover_windows,
            min_rows=rule.min_rows,
            no_data=rule.no_data,
            severity=rule.severity,
            action=rule.action,
            enabled=rule.enabled,
            description=rule.description,
            owner=rule.owner,
            runbook=rule.runbook or None,
            cooldown=rule.cooldown.total_seconds(),
            notify_within=rule.notify_within.total_seconds(),
            standing=state.standing if state else RuleState.Standing.NORMAL,
            state=explained.name.value,
            state_reason=explained.reason,
            is_critical=bool(state and state.is_critical),
            cannot_fire_because=silent or None,
            judged_until=state.judged_until if state else None,
            created_at=rule.created_at,
        )


class AddedRulesOut(ResponseBody, frozen=True):
    """The default rules that were missing."""

    items: list[RuleOut]


class FiringWindowOut(ResponseBody, frozen=True):
    """A window in which a rule would have fired: the value of the comparison that decides, and how severe that is.

    `no_data` says that it would have fired because there was none.
    """

    start: Time
    end: Time
    metric: str
    feature: str
    value: float | None
    threshold: float | None
    n: int
    severity: Annotated[str, one_of(Severity)]
    no_data: bool

    @classmethod
    def of(cls, rule: Rule, window: Window) -> Self:
        """Write a window that a back-test opened."""
        return cls(
            start=window.start,
            end=window.end,
            metric=window.reading.term.metric,
            feature=window.feature,
            value=window.value,
            threshold=window.threshold,
            n=window.n,
            severity=Severity.CRITICAL if window.is_critical else rule.severity,
            no_data=window.is_breached is None,
        )


class BacktestOut(ResponseBody, frozen=True):
    """When a rule would have fired in the stored past, of how many windows; `note` says why there are none."""

    would_fire: list[FiringWindowOut]
    windows: int
    note: str
