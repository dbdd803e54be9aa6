"""The state of a rule by name, and why it is in it, in a sentence."""

from dataclasses import dataclass
from datetime import timedelta

from django.db import models

from driftline.base.periods import counted, during, in_a_row, window
from monitors.rules.models import Rule, RuleState


class StateName(models.TextChoices):
    """What a rule does now: `recovering` still fires; `no_data` and `error` leave its standing as it was."""

    NORMAL = "normal"
    PENDING = "pending"
    FIRING = "firing"
    RECOVERING = "recovering"
    NO_DATA = "no_data"
    ERROR = "error"


@dataclass(frozen=True)
class ExplainedState:
    name: StateName
    reason: str


def explain_state(rule: Rule) -> ExplainedState:
    """Return in which state a stored rule is and why."""
    state: RuleState | None = getattr(rule, "state", None)  # one that is missing is an AttributeError too
    if state is not None and state.error:
        return ExplainedState(StateName.ERROR, f"It could not be judged: {state.error}")
    if state is None or (newest := _newest(rule, state)) is None:
        return ExplainedState(StateName.NORMAL, "No window was judged yet.")
    if state.lacks_data:
        return ExplainedState(StateName.NO_DATA, _lack(rule, state, newest))
    if state.standing == RuleState.Standing.FIRING:
        return _explain_firing(rule, state)
    if state.standing == RuleState.Standing.PENDING:
        seen = counted(state.streak, rule.judged_span)
        return ExplainedState(
            StateName.PENDING, f"Its condition held in {seen}; it fires at {rule.asked_windows}."
        )
    return ExplainedState(StateName.NORMAL, f"Its condition does not hold {newest}.")


def _explain_firing(rule: Rule, state: RuleState) -> ExplainedState:
    if state.streak:
        seen, asked = counted(state.streak, rule.judged_span, "good "), rule.recover_windows
        return ExplainedState(
            StateName.RECOVERING, f"It fires still: {seen} of {asked} in a row that resolve it were seen."
        )
    critical = ", beyond its critical threshold since it fires" if state.is_critical else ""
    good = in_a_row(rule.recover_windows, rule.judged_span, "good ")
    return ExplainedState(
        StateName.FIRING, f"Its condition held in at least {rule.asked_windows}{critical}; {good} resolve it."
    )


def _lack(rule: Rule, state: RuleState, newest: str) -> str:
    """Describe that the newest window has no value, and what the rule makes of that."""
    meant = {
        Rule.NoData.KEEP: f"it stays {state.standing}",
        Rule.NoData.ALERT: f"that counts against the model, and it is {state.standing}",
        Rule.NoData.OK: f"that counts as good, and it is {state.standing}",
    }[Rule.NoData(rule.no_data)]
    return f"There is no value, or there are too few rows, {newest}: {meant}."


def _newest(rule: Rule, state: RuleState) -> str | None:
    """Return when the window was that was judged last; None where no window of the rule's span ends with what was
    judged, as before the first one."""
    if state.judged_until is None:
        return None
    newest = window(state.judged_until - timedelta(microseconds=1), rule.judged_span)
    return during(newest.start, rule.judged_span) if newest.end == state.judged_until else None
