"""Which values a feature can hardly have, and which it cannot, as far as its reference tells.

Both ends lie further out than a whole range of the reference and than its tail could reach by a generalised Pareto tail
(Pickands, 1975) over a high threshold, which goes through the largest value seen. A value is *impossible* beyond what
one in `PERIODS` references of its size would show at most, where the tail's shape is the upper confidence bound of two
estimates: probability-weighted moments (Hosking and Wallis, 1987) and the moment estimator, which is consistent for
heavy tails too (Dekkers, Einmahl and de Haan, 1989). So heavy tails reach far, and few rows further. It is
*implausible* beyond what one in `PLAUSIBLE_PERIODS` references would show by the estimate itself: fewer than 1 of 1,000
windows of a thirtieth of the reference have one, whatever the tail.

Two kinds of values need no distance: negative ones of a feature that ends at zero, and numbers as large as a timestamp
where the reference has none a thousandth as large.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitors.stats.mergeable.sketches import FloatArray, IntArray, NumericSummary
from monitors.stats.performance.estimate import Z95_ONE_SIDED

MIN_ROWS = 100  # fewer tell nothing of their tails
PERIODS, PLAUSIBLE_PERIODS = 10_000.0, 300.0
TAIL_SHARE, MAX_TAIL_ROWS, MIN_TAIL_ROWS = 0.1, 500, 20
MIN_TAIL_VALUES = 5  # different ones; fewer have no shape, and reach some ranges beyond the largest
RANGES_WITHOUT_TAIL = 10
MIN_SHAPE, MAX_SHAPE = -0.5, 2.0
TIMESTAMP, TIMES_THE_LARGEST = 1e9, 1e3  # seconds since 1970 in 2001
# A feature ends at zero if none of its values is below, but not few lie at its lower end, and that is nearby: of whole
# numbers, as ages, within half their range, of others within a hundredth.
_BEGIN, _BEGIN_OF_WHOLE = 0.01, 0.5
_END, _ROWS_AT_END, _SHARE_AT_END = 0.02, 5, 0.005


@dataclass(frozen=True, slots=True)
class ValueRange:
    """From the least to the largest value that a feature may have."""

    least: float
    most: float

    def including(self, least: float | None, most: float | None) -> ValueRange:
        """Return the range that allows for what people expect, too."""
        lower = self.least if least is None else min(self.least, least)
        upper = self.most if most is None else max(self.most, most)
        return ValueRange(lower, upper)

    def count_beyond(self, column: NumericSummary) -> int:
        """Count the values of a column that are beyond the range."""
        if not column.n or (self.least <= column.minimum and column.maximum <= self.most):
            return 0
        return max(column.count_beyond(self.least, self.most), 1)  # a cell's mean may lie within

    def furthest(self, column: NumericSummary) -> float:
        """Return the value of a column that lies furthest beyond the range."""
        is_below = self.least - column.minimum > column.maximum - self.most
        return column.minimum if is_below else column.maximum


@dataclass(frozen=True, slots=True)
class ValueReach:
    """The values that a feature can have, and within them those that it is likely to have."""

    possible: ValueRange
    plausible: ValueRange

    def including(self, least: float | None, most: float | None) -> ValueReach:
        """Return the reach that allows for what people expect, too."""
        return ValueReach(self.possible.including(least, most), self.plausible.including(least, most))


def reach_of(reference: NumericSummary) -> ValueReach | None:
    """Work out the values that a feature can have; None where the reference has too few rows or a single value."""
    extent = reference.maximum - reference.minimum
    if reference.n < MIN_ROWS or not 0 < extent < np.inf:
        return None
    values, counts = reference.known_values()
    above = _ends(values, counts, reference.maximum, extent)
    below = (
        None if _ends_at_zero(reference) else _ends(-values[::-1], counts[::-1], -reference.minimum, extent)
    )
    highest = max(TIMESTAMP, TIMES_THE_LARGEST * abs(reference.maximum))
    possible, plausible = (
        ValueRange(0.0 if below is None else -below[which], min(above[which], highest)) for which in (0, 1)
    )
    return ValueReach(possible, plausible)


def _ends_at_zero(reference: NumericSummary) -> bool:
    values, counts = reference.known_values()
    extent = reference.maximum - reference.minimum
    is_whole = reference.distinct is not None and bool((values == np.rint(values)).all())
    if not 0 <= reference.minimum <= (_BEGIN_OF_WHOLE if is_whole else _BEGIN) * extent:
        return False
    at_end = int(counts[values <= reference.minimum + _END * extent].sum())
    return at_end >= max(_ROWS_AT_END, _SHARE_AT_END * reference.n)


def _ends(values: FloatArray, counts: IntArray, largest: float, extent: float) -> tuple[float, float]:
    """Return how far the upper tail of ascending values could reach, and how far it is likely to.

    They are the values of a column of an extent, of which each end lies beyond a whole one.
    """
    n = int(counts.sum())
    rows = min(max(int(TAIL_SHARE * n), MIN_TAIL_ROWS), MAX_TAIL_ROWS)
    threshold = values[np.searchsorted(np.cumsum(counts), n - rows, side="left")]
    is_tail = values > threshold
    excess, weights = values[is_tail] - threshold, counts[is_tail]
    if excess.size < MIN_TAIL_VALUES:
        return (largest + RANGES_WITHOUT_TAIL * extent,) * 2
    middle = values[np.searchsorted(np.cumsum(counts), n / 2, side="left")]
    shape = max(_shape_by_weights(excess, weights), _shape_by_logs(excess, weights, threshold - middle))
    known = excess.size  # rows of one value may be one event, as those of an hour's rain are
    at_most = shape + Z95_ONE_SIDED * (1 + max(shape, 0.0)) / np.sqrt(known)

    def end(shape: float, periods: float) -> float:
        shape = min(max(shape, MIN_SHAPE), MAX_SHAPE)
        times = _growth(shape, periods * known) / _growth(shape, known)
        return max(float(threshold + (largest - threshold) * times), largest + extent)

    return end(at_most, PERIODS), end(shape, PLAUSIBLE_PERIODS)


def _growth(shape: float, periods: float) -> float:
    """Return the level that is exceeded once in so many rows of the tail, in units of its scale."""
    return float(np.log(periods) if abs(shape) < 1e-6 else np.expm1(shape * np.log(periods)) / shape)


def _shape_by_weights(excess: FloatArray, weights: IntArray) -> float:
    rows = weights.sum()
    rank = (np.cumsum(weights) - weights / 2) / rows
    mean, weighted = float(weights @ excess) / rows, float(weights @ (excess * (1 - rank))) / rows
    return 2 - mean / (mean - 2 * weighted) if mean > 2 * weighted else 1.0


def _shape_by_logs(excess: FloatArray, weights: IntArray, distance: float) -> float:
    """Estimate the shape from the logarithms of how far rows lie from the middle, the threshold being the unit."""
    if distance <= 0:
        return MIN_SHAPE
    logs, rows = np.log1p(excess / distance), weights.sum()
    first, second = float(weights @ logs) / rows, float(weights @ logs**2) / rows
    spread = 1 - first * first / second
    return first + 1 - 0.5 / spread if spread > 0 else 1.0
