"""How far an estimate of performance misses on a day although nothing changed: what a reference's own days show.

An estimate's interval takes rows as independent, and rows of one day are not: they share its weather, its customers or
its batch, and with them an error that no calibration knows of. So each day of the reference is estimated like a
window and held against its labels. What their errors vary by beyond the intervals is the days' own variance (the
moment estimator of a random effect: DerSimonian and Laird, 1986); windows of several days are held against runs of as
many successive days, whose errors may go together. The estimator has learnt from those days too, among many others:
the variance comes out a few percent too small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from monitors.stats.drift.reference_days import MAX_SHARE, MIN_DAYS
from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.performance.blocks import RANGES
from monitors.stats.performance.estimate import Z95, Estimate


@dataclass(frozen=True, eq=False)
class DayErrors:
    """A metric on days of a reference, oldest first: realised minus estimated, the interval's variance, the rows."""

    errors: FloatArray
    variances: FloatArray
    rows: FloatArray

    def spread(self, length: int) -> tuple[float, int]:
        """Return the standard deviation that runs of `length` days share, and how many of them lie side by side.

        A run longer than a quarter of the days is taken for one of a quarter.
        """
        days = self.errors.size
        length = min(max(length, 1), max(int(days * MAX_SHARE), 1))
        rows = _sums(self.rows, length)
        errors = _sums(self.rows * self.errors, length) / rows
        variances = _sums(self.rows**2 * self.variances, length) / rows**2
        return float(np.sqrt(max((errors**2 - variances).mean(), 0.0))), days // length


def _sums(values: FloatArray, length: int) -> FloatArray:
    up_to = np.concatenate([[0.0], np.cumsum(values)])
    sums: FloatArray = up_to[length:] - up_to[:-length]
    return sums


def errors_by_day(
    days: Sequence[tuple[Mapping[str, Estimate], Mapping[str, Estimate]]],
) -> dict[str, DayErrors]:
    """Hold what was estimated of each day (first) against what its labels said; fewer than 14 days tell nothing."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    for estimated, realised in days:
        for name, estimate in estimated.items():
            truth, deviation = realised.get(name), _deviation(estimate)
            if truth is None or truth.value is None or estimate.value is None or deviation is None:
                continue
            if np.isfinite(truth.value):
                found.setdefault(name, []).append((truth.value - estimate.value, deviation**2, estimate.n))
    columns = {name: np.array(rows).T for name, rows in found.items() if len(rows) >= MIN_DAYS}
    return {name: DayErrors(*column) for name, column in columns.items()}


def _deviation(estimate: Estimate) -> float | None:
    """Read the standard deviation off an interval; one of its ends may be where the metric ends."""
    if estimate.value is None or estimate.lower is None or estimate.upper is None:
        return None
    return max(estimate.upper - estimate.value, estimate.value - estimate.lower) / Z95


def allow_for_days(name: str, estimate: Estimate, errors: DayErrors | None, *, length: int) -> Estimate:
    """Widen the interval of a window of `length` days by what days share; without any of that it stays as it is."""
    deviation = _deviation(estimate)
    if errors is None or estimate.value is None or deviation is None:
        return estimate
    spread, runs = errors.spread(length)
    if not spread:
        return estimate
    half = float(scipy.special.stdtrit(max(runs - 1, 1), 0.975)) * float(np.hypot(deviation, spread))
    least, most = RANGES.get(name, (0.0, np.inf))
    lower, upper = max(estimate.value - half, least), min(estimate.value + half, most)
    detail = {**estimate.detail, "days": errors.errors.size}
    return Estimate(estimate.value, estimate.n, lower, upper, "reference_days", detail)
