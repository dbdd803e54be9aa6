"""How one more window moves a rule: pure, so that judging, back-testing and its oracle agree."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol


class Outcome(Enum):
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
class Standing:
    """Where a rule stands. `streak` counts windows in a row that speak for leaving `name`."""

    name: str = "normal"
    streak: int = 0
    judged_until: datetime | None = None
    acted_until: datetime | None = None


@dataclass(frozen=True)
class Verdict:
    standing: Standing
    outcome: Outcome = Outcome.NOTHING


def step(rule: Condition, before: Standing, window: Observation) -> Verdict:
    """Move a rule by one window.

    A window without data or with too few rows says nothing: it neither opens nor resolves, and it ends no streak.
    """
    if window.value is None or window.n < rule.min_rows:
        return Verdict(Standing(before.name, before.streak, window.end, before.acted_until))
    breached = rule.is_breached_by(window.value)
    if before.name == "firing":
        return _while_firing(rule, before, window, breached)
    if not breached:
        return Verdict(Standing("normal", 0, window.end, before.acted_until))
    streak = before.streak + 1
    if streak < rule.for_windows:
        return Verdict(Standing("pending", streak, window.end, before.acted_until))
    return Verdict(Standing("firing", 0, window.end, window.end), Outcome.OPENED)


def _while_firing(rule: Condition, before: Standing, window: Observation, breached: bool) -> Verdict:
    if breached:
        cooled = before.acted_until is None or window.end >= before.acted_until + rule.cooldown
        if cooled:
            return Verdict(Standing("firing", 0, window.end, window.end), Outcome.STILL_FIRING)
        return Verdict(Standing("firing", 0, window.end, before.acted_until))
    streak = before.streak + 1
    if streak < rule.recover_windows:
        return Verdict(Standing("firing", streak, window.end, before.acted_until))
    return Verdict(Standing("normal", 0, window.end, before.acted_until), Outcome.RESOLVED)
