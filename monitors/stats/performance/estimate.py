"""A measured value with its 95% interval, and the intervals that several metrics share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from monitors.stats.mergeable.outcomes import Moments

Z95 = 1.959963984540054


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
