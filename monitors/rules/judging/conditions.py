"""How one more window moves a rule: pure, so that judging, back-testing and its oracle agree."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Protocol


class RuleOutcome(Enum):
    """What a window brought about."""

    NOTHING = ""
    OPENED = "opened"
    WORSENED = "worsened"
    STILL_FIRING = "still_firing"
    RESOLVED = "resolved"


class NoDataPolicy(StrEnum):
    """What a rule does in a window of which it is unknown whether its condition holds."""

    KEEP = "keep"
    ALERT = "alert"
    OK = "ok"


class Condition(Protocol):
    recover_windows: int
    cooldown: timedelta
    no_data: str

    @property
    def needed_windows(self) -> int: ...
    @property
    def among_windows(self) -> int: ...


class JudgedWindow(Protocol):
    """A window as a rule judges it: whether its condition holds (None: that is unknown), holds beyond the critical
    threshold, and whether it is as good as a recovery asks for."""

    @property
    def end(self) -> datetime: ...
    @property
    def is_breached(self) -> bool | None: ...
    @property
    def is_critical(self) -> bool: ...
    @property
    def is_recovered(self) -> bool: ...


@dataclass(frozen=True)
class RuleProgress:
    """Where a rule stands. While it fires, `streak` counts the good windows in a row.

    Before, `recent` has a letter for each window that may still be one of those that fire together: `x` was beyond the
    threshold, `.` was not. `streak` counts the first. `is_critical` stays until the rule no longer fires, and
    `lacks_data` is of the newest window.
    """

    name: str = "normal"
    streak: int = 0
    judged_until: datetime | None = None
    acted_until: datetime | None = None
    recent: str = ""
    is_critical: bool = False
    lacks_data: bool = False


@dataclass(frozen=True)
class RuleStep:
    progress: RuleProgress
    outcome: RuleOutcome = RuleOutcome.NOTHING


def step(rule: Condition, before: RuleProgress, window: JudgedWindow) -> RuleStep:
    """Move a rule by one window.

    A window that is unknown neither opens nor resolves, and it ends no streak; unless the rule says that
    such a window alerts, or is a good one.
    """
    lacks_data = window.is_breached is None
    seen = replace(before, judged_until=window.end, lacks_data=lacks_data)
    if lacks_data and rule.no_data == NoDataPolicy.KEEP:
        return RuleStep(seen)
    is_breached = counts_as_breach(rule, window)
    if before.name == "firing":
        is_good = not is_breached and (lacks_data or window.is_recovered)
        return _while_firing(rule, seen, window, is_breached=is_breached, is_good=is_good)
    recent = _still_of_use(rule, before.recent + ("x" if is_breached else "."))
    streak = recent.count("x")
    if is_breached and streak >= rule.needed_windows:
        opened = replace(
            seen, name="firing", streak=0, acted_until=window.end, recent="", is_critical=window.is_critical
        )
        return RuleStep(opened, RuleOutcome.OPENED)
    return RuleStep(replace(seen, name="pending" if recent else "normal", streak=streak, recent=recent))


def counts_as_breach(rule: Condition, window: JudgedWindow) -> bool:
    """Return whether a window can make a rule fire: it is beyond the threshold, or unknown where that alerts."""
    return rule.no_data == NoDataPolicy.ALERT if window.is_breached is None else window.is_breached


def _still_of_use(rule: Condition, recent: str) -> str:
    """Drop the oldest windows that no longer can be among those that fire together: too long ago, or with too many
    good ones after them."""
    recent = recent[-rule.among_windows :]
    while recent.count(".") > rule.among_windows - rule.needed_windows:
        recent = recent.partition(".")[2]
    return recent.lstrip(".")


def _while_firing(
    rule: Condition, seen: RuleProgress, window: JudgedWindow, *, is_breached: bool, is_good: bool
) -> RuleStep:
    if is_breached:
        again = replace(seen, streak=0)
        if window.is_critical and not seen.is_critical:
            return RuleStep(replace(again, is_critical=True, acted_until=window.end), RuleOutcome.WORSENED)
        cooled = seen.acted_until is None or window.end >= seen.acted_until + rule.cooldown
        if cooled:
            return RuleStep(replace(again, acted_until=window.end), RuleOutcome.STILL_FIRING)
        return RuleStep(again)
    streak = seen.streak + 1 if is_good else 0
    if streak < rule.recover_windows:
        return RuleStep(replace(seen, streak=streak))
    return RuleStep(replace(seen, name="normal", streak=0, is_critical=False), RuleOutcome.RESOLVED)
