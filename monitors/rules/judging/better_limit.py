"""A limit for a rule that people called wrong: by back-test over the windows in which it fired."""

from bisect import bisect_left
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from driftline.base.periods import Period
from monitors.metrics.store.models import MetricPoint, PointStatus
from monitors.rules.judging.conditions import RuleOutcome, RuleProgress, step
from monitors.rules.judging.windows import gather, points_of
from monitors.rules.models import Rule

DIGITS = 3
"""Significant digits of a limit that is suggested, where so few still tell the windows apart."""

type _Episode = Sequence[MetricPoint]


@dataclass(frozen=True)
class BetterLimit:
    """The nearest limit with which a rule would not have fired in any false alarm, and what of the others it keeps."""

    threshold: float
    false_alarms: int
    kept: int
    others: int

    @property
    def missed(self) -> int:
        """How many others the rule would not have fired in."""
        return self.others - self.kept

    @property
    def keeps_all(self) -> bool:
        """Whether the rule would still have fired in all others, so that the limit can be recommended."""
        return not self.missed


def better_limit(
    rule: Rule, *, false_alarms: Sequence[Period], others: Sequence[Period]
) -> BetterLimit | None:
    """Find the limit nearest to the present one that would not have fired in periods marked as false alarms.

    The periods are those in which the rule fired, from the first window beyond its limit on. One without stored points,
    or in which the rule as it is by now would not fire, tells nothing. None where no false alarm is left, and of a rule
    with a condition, which has no one limit.
    """
    if rule.condition is not None:
        return None
    wrong, right = _episodes(rule, false_alarms), _episodes(rule, others)
    if not wrong:
        return None
    values = sorted(
        {_badness(rule, point.value) for points in wrong for point in points if point.value is not None}
    )
    limits = [_limit(rule, badness) for badness in values if rule.is_breached_by(_limit(rule, badness))]
    # The farther the limit, the fewer windows are beyond it, so false alarms end at one place of the list.
    place = bisect_left(limits, True, key=lambda limit: not any(_fires(rule, limit, one) for one in wrong))
    threshold = _rounded(rule, limits[place], wrong, right)
    kept = sum(_fires(rule, threshold, one) for one in right)
    return BetterLimit(threshold, len(wrong), kept, len(right))


def _episodes(rule: Rule, periods: Sequence[Period]) -> list[_Episode]:
    """Read the points of each period, without those in which the rule would not fire."""
    episodes: list[_Episode] = []
    for period in periods:
        points = points_of(rule).filter(start__gte=period.start, end__lte=period.end)
        found = list(points.exclude(status=PointStatus.UNRIPE).order_by("start"))
        if _fires(rule, rule.threshold, found):
            episodes.append(found)
    return episodes


def _fires(rule: Rule, threshold: float, points: _Episode) -> bool:
    """Return whether the rule with another limit opens in a period."""
    trial = copy(rule)
    trial.threshold = threshold
    progress = RuleProgress()
    for window in gather(trial, points):
        moved = step(trial, progress, window)
        if moved.outcome is RuleOutcome.OPENED:
            return True
        progress = moved.progress
    return False


def _rounded(rule: Rule, limit: float, wrong: Sequence[_Episode], right: Sequence[_Episode]) -> float:
    """Round a limit away from the windows within it, unless that loses one more of the others."""
    if limit == 0 or not isfinite(limit):
        return limit
    unit = 10.0 ** (floor(log10(abs(limit))) - DIGITS + 1)
    away = ceil if rule.operator == Rule.Operator.ABOVE else floor
    rounded = float(f"{away(limit / unit) * unit:.{DIGITS}g}")
    is_within = not any(_fires(rule, rounded, one) for one in wrong)
    keeps = all(_fires(rule, rounded, one) for one in right if _fires(rule, limit, one))
    return rounded if is_within and keeps else limit


def _badness(rule: Rule, value: float) -> float:
    return value if rule.operator == Rule.Operator.ABOVE else -value


def _limit(rule: Rule, badness: float) -> float:
    return badness if rule.operator == Rule.Operator.ABOVE else -badness
