"""How one more window moves a rule: pure, so that judging, back-testing and its oracle agree."""

from dataclasses import dataclass, replace
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

    @property
    def among_windows(self) -> int: ...
    def is_recovered_by(self, value: float) -> bool: ...


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
    """Where a rule stands. While it fires, `streak` counts the good windows in a row.

    Before, `recent` has a letter for each window that may still be one of those that fire together: `x` was beyond the
    threshold, `.` was not. `streak` counts the first.
    """

    name: str = "normal"
    streak: int = 0
    judged_until: datetime | None = None
    acted_until: datetime | None = None
    recent: str = ""


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
        return RuleStep(replace(before, judged_until=window.end))
    if before.name == "firing":
        return _while_firing(rule, before, window, breached)
    recent = _still_of_use(rule, before.recent + ("x" if breached else "."))
    streak = recent.count("x")
    if breached and streak >= rule.for_windows:
        return RuleStep(RuleProgress("firing", 0, window.end, window.end), RuleOutcome.OPENED)
    name = "pending" if recent else "normal"
    return RuleStep(RuleProgress(name, streak, window.end, before.acted_until, recent))


def _still_of_use(rule: Condition, recent: str) -> str:
    """Drop the oldest windows that no longer can be among those that fire together: too long ago, or with too many
    good ones after them."""
    recent = recent[-rule.among_windows :]
    while recent.count(".") > rule.among_windows - rule.for_windows:
        recent = recent.partition(".")[2]
    return recent.lstrip(".")


def _while_firing(rule: Condition, before: RuleProgress, window: ObservedWindow, breached: bool) -> RuleStep:
    if breached:
        cooled = before.acted_until is None or window.end >= before.acted_until + rule.cooldown
        if cooled:
            return RuleStep(RuleProgress("firing", 0, window.end, window.end), RuleOutcome.STILL_FIRING)
        return RuleStep(RuleProgress("firing", 0, window.end, before.acted_until))
    is_recovered = window.value is not None and rule.is_recovered_by(window.value)
    streak = before.streak + 1 if is_recovered else 0
    if streak < rule.recover_windows:
        return RuleStep(RuleProgress("firing", streak, window.end, before.acted_until))
    return RuleStep(RuleProgress("normal", 0, window.end, before.acted_until), RuleOutcome.RESOLVED)
