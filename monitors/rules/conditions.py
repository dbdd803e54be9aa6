"""How one more window moves a rule: pure, so that judging, back-testing and its oracle agree."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol


class RuleOutcome(Enum):
    """What a window brought about."""

    NOTHING = ""
    OPENED = "opened"
    STILL_FIRING = "still_firing"
    RESOLVED = "resolved"


class Condition(Protocol):
    for_windows: int
    recover_windows: int
    min_rows: int
    cooldown: timedelta

    def is_breached_by(self, value: float) -> bool: ...


class Observation(Protocol):
    @property
    def end(self) -> datetime: ...
    @property
    def value(self) -> float | None: ...
    @property
    def n(self) -> int: ...


@dataclass(frozen=True)
class RuleProgress:
    """Where a rule stands. `streak` counts windows in a row that speak for leaving `name`."""

    name: str = "normal"
    streak: int = 0
    judged_until: datetime | None = None
    acted_until: datetime | None = None


@dataclass(frozen=True)
class RuleStep:
    progress: RuleProgress
    outcome: RuleOutcome = RuleOutcome.NOTHING


def step(rule: Condition, before: RuleProgress, window: Observation) -> RuleStep:
    """Move a rule by one window.

    A window without data or with too few rows says nothing: it neither opens nor resolves, and it ends no streak.
    """
    if window.value is None or window.n < rule.min_rows:
        return RuleStep(RuleProgress(before.name, before.streak, window.end, before.acted_until))
    breached = rule.is_breached_by(window.value)
    if before.name == "firing":
        return _while_firing(rule, before, window, breached)
    if not breached:
        return RuleStep(RuleProgress("normal", 0, window.end, before.acted_until))
    streak = before.streak + 1
    if streak < rule.for_windows:
        return RuleStep(RuleProgress("pending", streak, window.end, before.acted_until))
    return RuleStep(RuleProgress("firing", 0, window.end, window.end), RuleOutcome.OPENED)


def _while_firing(rule: Condition, before: RuleProgress, window: Observation, breached: bool) -> RuleStep:
    if breached:
        cooled = before.acted_until is None or window.end >= before.acted_until + rule.cooldown
        if cooled:
            return RuleStep(RuleProgress("firing", 0, window.end, window.end), RuleOutcome.STILL_FIRING)
        return RuleStep(RuleProgress("firing", 0, window.end, before.acted_until))
    streak = before.streak + 1
    if streak < rule.recover_windows:
        return RuleStep(RuleProgress("firing", streak, window.end, before.acted_until))
    return RuleStep(RuleProgress("normal", 0, window.end, before.acted_until), RuleOutcome.RESOLVED)
