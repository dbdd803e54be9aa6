"""A measured value with its 95% interval, and the intervals that several metrics share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from monitors.stats.mergeable.outcomes import Moments

Z95, Z95_ONE_SIDED = 1.959963984540054, 1.6448536269514722
MIN_PROVING_ROWS, STRETCH = 20, 2.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric on `n` rows (those that it is a share or mean of) with its 95% interval and the interval's method.

    `value` is None where the metric is undefined, as ROC AUC is without both classes; the bounds are None
    where no interval is known. `detail` holds what else the value must be read with, as numbers by name.
    """

    value: float | None
    n: int
    lower: float | None = None
    upper: float | None = None
    method: str = ""
    detail: Mapping[str, float] = field(default_factory=dict)


def proves_beyond(
    value: float, n: int, lower: float | None, upper: float | None, limit: float, *, is_below: bool
) -> bool:
    """Return whether a value of few rows proves that what it measures lies beyond a limit, above it or below.

    An interval of 95 % at few rows is too narrow where it comes from a normal approximation, and one of many windows
    lies beyond anything by chance. So the limit must lie beyond the interval stretched to twice its length on that
    side, which of a quiet model less than one window in a hundred does even where its truth is the limit; and below
    twenty rows nothing is proved.

    >>> proves_beyond(0.3, 20, 0.15, 0.52, 0.8, is_below=True), proves_beyond(0.6, 20, 0.39, 0.78, 0.8, is_below=True)
    (True, False)
    """
    edge = upper if is_below else lower
    if edge is None or n < MIN_PROVING_ROWS:
        return False
    stretched = value + STRETCH * (edge - value)
    return stretched < limit if is_below else stretched > limit


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Bound a share at 95% by Wilson's score interval, which stays inside 0 to 1 and is sound for few rows."""
    share, z2 = successes / n, Z95**2
    middle = share + z2 / (2 * n)
    half = Z95 * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(float((middle - half) / (1 + z2 / n)), 0.0), min(float((middle + half) / (1 + z2 / n)), 1.0)


def share(successes: int, n: int) -> Estimate:
    """Estimate a share of `n` rows; without rows it is undefined."""
    if not n:
        return Estimate(None, 0)
    return Estimate(successes / n, n, *wilson_interval(successes, n), "wilson")


def difference(later: Estimate, earlier: Estimate) -> Estimate:
    """Estimate `later` minus `earlier`, measured on different rows; its interval follows from theirs.

    Each bound is off the difference by the root of the sum of squares of what the two values are off their own bounds
    (Newcombe 1998, method 10, of shares; Zou and Donner 2008, of anything with an interval), so an uneven interval
    stays uneven. Without both intervals there is none.

    >>> newcombe = difference(share(56, 70), share(48, 80))
    >>> round(newcombe.value, 4), round(newcombe.lower, 4), round(newcombe.upper, 4)
    (0.2, 0.0524, 0.3339)
    """
    rows = later.n + earlier.n
    if later.value is None or earlier.value is None:
        return Estimate(None, rows)
    value = later.value - earlier.value
    if later.lower is None or later.upper is None or earlier.lower is None or earlier.upper is None:
        return Estimate(value, rows)
    below = float(np.hypot(later.value - later.lower, earlier.upper - earlier.value))
    above = float(np.hypot(later.upper - later.value, earlier.value - earlier.lower))
    return Estimate(value, rows, value - below, value + above, "square-and-add")


def mean_loss(losses: Moments, *, least: float = -np.inf) -> Estimate:
    """Estimate a mean of a per-row loss that is never below `least`; infinite losses have no mean."""
    if not losses.n:
        return Estimate(None, 0)
    return around(losses.mean, losses.n, losses.standard_error, method="normal", least=least)


def around(
    value: float, n: int, standard_error: float, *, method: str, least: float = -np.inf, most: float = np.inf
) -> Estimate:
    """Bound a value by 1.96 standard errors on either side, within what it can be.

    Without a finite standard error there are no bounds; a value that is not finite is undefined.
    """
    if not np.isfinite(value):
        return Estimate(None, n)
    if not np.isfinite(standard_error):
        return Estimate(value, n)
    half = Z95 * standard_error
    return Estimate(value, n, max(value - half, least), min(value + half, most), method)
