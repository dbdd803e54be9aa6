"""A rule on values above one, and what it does by its definition: what random rules are compared with."""

from dataclasses import dataclass
from datetime import timedelta

DAY = timedelta(days=1)
GOOD, BETWEEN, BAD, TERRIBLE, NO_DATA = 0.5, 0.9, 2.0, 4.0, None


@dataclass(frozen=True)
class AboveOne:
    for_windows: int = 1
    recover_windows: int = 1
    cooldown: timedelta = 3 * DAY
    of_windows: int | None = None
    good_at: float = 1.0
    no_data: str = "keep"

    @property
    def needed_windows(self) -> int:
        return self.for_windows

    @property
    def among_windows(self) -> int:
        return self.of_windows or self.for_windows


def plainly(rule: AboveOne, values: list[float | None]) -> list[str]:
    """What a rule does, by looking at all windows since it last changed: slow, and without a memory of its own."""
    seen: list[str] = []
    since, is_firing, acted, first = 0, False, 0, 0
    shown = [{"keep": None, "alert": BAD, "ok": GOOD}[rule.no_data] if one is None else one for one in values]
    for place, value in enumerate(shown):
        known, outcome = [one for one in shown[since : place + 1] if one is not None], ""
        beyond = sum(one > 1.0 for one in known[-rule.among_windows :])
        was_critical = any(one is not None and one > 3.0 for one in shown[first:place])
        if value is None:
            pass
        elif not is_firing and value > 1.0 and beyond >= rule.for_windows:
            is_firing, outcome, acted, since, first = True, "opened", place, place + 1, place
        elif is_firing and value > 3.0 and not was_critical:
            outcome, acted = "worsened", place
        elif is_firing and value > 1.0 and (place - acted) * DAY >= rule.cooldown:
            outcome, acted = "still_firing", place
        elif (
            is_firing
            and len(known) >= rule.recover_windows
            and max(known[-rule.recover_windows :]) <= rule.good_at
        ):
            is_firing, outcome, since = False, "resolved", place + 1
        seen.append(outcome)
    return seen
