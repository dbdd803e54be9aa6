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


class Limit(Protocol):
    min_rows: int

    def is_breached_by(self, value: float) -> bool: ...


class Condition(Limit, Protocol):
    for_windows: int
    recover_windows: int
    cooldown: timedelta


class Observation(Protocol):
    @property
    def value(self) -> float | None: ...
    @property
    def n(self) -> int: ...


class ObservedWindow(Observation, Protocol):
    @property
    def end(self) -> datetime: ...
    @property
    def is_proven(self) -> bool: ...


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


def breach_of(limit: Limit, seen: Observation, *, is_proven: bool) -> bool | None:
    """Tell whether what was seen is beyond a limit; None where it has no value, or too few rows to be judged.

    No rows are too few where the value's interval proves a breach.
    """
    if seen.value is None or (seen.n < limit.min_rows and not is_proven):
        return None
    return limit.is_breached_by(seen.value)


def step(rule: Condition, before: RuleProgress, window: ObservedWindow) -> RuleStep:
    """Move a rule by one window.

    A window without data or with too few rows says nothing: it neither opens nor resolves, and it ends no streak. No
    rows are too few where the value's interval proves a breach.
    """
    breached = breach_of(rule, window, is_proven=window.is_proven)
    if breached is None:
        return RuleStep(RuleProgress(before.name, before.streak, window.end, before.acted_until))
    if before.name == "firing":
        return _while_firing(rule, before, window, breached)
    if not breached:
        return RuleStep(RuleProgress("normal", 0, window.end, before.acted_until))
    streak = before.streak + 1
    if streak < rule.for_windows:
        return RuleStep(RuleProgress("pending", streak, window.end, before.acted_until))
    return RuleStep(RuleProgress("firing", 0, window.end, window.end), RuleOutcome.OPENED)


def _while_firing(rule: Condition, before: RuleProgress, window: ObservedWindow, breached: bool) -> RuleStep:
    if breached:
        cooled = before.acted_until is None or window.end >= before.acted_until + rule.cooldown
        if cooled:
            return RuleStep(RuleProgress("firing", 0, window.end, window.end), RuleOutcome.STILL_FIRING)
        return RuleStep(RuleProgress("firing", 0, window.end, before.acted_until))
    streak = before.streak + 1
    if streak < rule.recover_windows:
        return RuleStep(RuleProgress("firing", streak, window.end, before.acted_until))
    return RuleStep(RuleProgress("normal", 0, window.end, before.acted_until), RuleOutcome.RESOLVED)
