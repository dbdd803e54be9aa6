"""Whether predicted probabilities come true as often as they say, from two grids of log-odds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitors.stats.mergeable.sketches import FloatArray, IntArray, NumericSummary, steps_of
from monitors.stats.performance.estimate import Estimate, around, wilson_interval

BINS = 10
# Probabilities are float32: rounding keeps equal ones in one bin whatever the order of their sums was.
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows whose probability lies in (`low`, `high`]: what it promised and how often it came true, with 95% bounds."""

    low: float
    high: float
    n: int
    predicted: float
    observed: float
    lower: float
    upper: float


@dataclass(frozen=True, eq=False, slots=True)
class ScoreCells:
    """Steps of equal or nearly equal probability, ascending: their mean, and the rows that came true or did not."""

    probability: FloatArray
    hits: IntArray
    misses: IntArray

    @property
    def counts(self) -> IntArray:
        return self.hits + self.misses


def score_cells(hits: NumericSummary, misses: NumericSummary) -> ScoreCells:
    """Put two columns of log-odds on their common steps."""
    sides = steps_of(hits, misses)
    steps = np.union1d(sides[0].ids, sides[1].ids)
    counts = np.zeros((2, steps.size), dtype=np.int64)
    sums = np.zeros(steps.size)
    for row, side in enumerate(sides):
        place = np.searchsorted(steps, side.ids)
        counts[row, place] = side.counts
        sums[place] += side.positions * side.counts
    log_odds = sums / np.maximum(counts.sum(axis=0), 1)
    return ScoreCells(1 / (1 + np.exp(-log_odds)), counts[0], counts[1])


def reliability(hits: NumericSummary, misses: NumericSummary) -> list[ReliabilityBin]:
    """Compare promised with observed shares in ten bins of equal width; empty bins are left out."""
    cells = score_cells(hits, misses)
    bins = _bin_of(cells.probability)
    found = []
    for number in np.unique(bins):
        inside = bins == number
        n, came_true = int(cells.counts[inside].sum()), int(cells.hits[inside].sum())
        promised = float(cells.counts[inside] @ cells.probability[inside]) / n
        low, high = wilson_interval(came_true, n)
        found.append(
            ReliabilityBin(number / BINS, (number + 1) / BINS, n, promised, came_true / n, low, high)
        )
    return found


def expected_calibration_error(hits: NumericSummary, misses: NumericSummary) -> Estimate:
    """Measure the mean gap between promised and observed share over ten bins of equal width, weighted by rows.

    Naeini et al. (2015); of several classes it is that of the answered class (Guo et al., 2017). Even perfectly
    calibrated scores of few rows show a gap: `detail` gives the one to expect as `noise`. The bounds are those of
    the binned sum's variance, bin by bin.
    """
    n = hits.n + misses.n
    if not n:
        return Estimate(None, 0)
    return calibration_error(score_cells(hits, misses))


def calibration_error(cells: ScoreCells) -> Estimate:
    """Measure the expected calibration error of cells that are already together."""
    n = int(cells.counts.sum())
    bins, p = _bin_of(cells.probability), cells.probability
    gaps = np.bincount(bins, cells.hits - cells.counts * p, BINS)
    squares = np.bincount(bins, cells.hits * (1 - p) ** 2 + cells.misses * p**2, BINS)
    rows = np.bincount(bins, cells.counts, BINS)
    variance = np.maximum(squares - gaps**2 / np.maximum(rows, 1), 0.0).sum()
    noise = np.sqrt(2 / np.pi * np.bincount(bins, cells.counts * p * (1 - p), BINS)).sum() / n
    value = around(
        float(np.abs(gaps).sum()) / n, n, float(np.sqrt(variance)) / n, method="delta", least=0.0, most=1.0
    )
    return Estimate(value.value, n, value.lower, value.upper, value.method, {"noise": float(noise)})


def _bin_of(probability: FloatArray) -> IntArray:
    """Number the bin of each probability: (0, 0.1], (0.1, 0.2], ..."""
    bins: IntArray = np.clip(
        np.ceil(np.round(probability, _DECIMALS) * BINS).astype(np.int64) - 1, 0, BINS - 1
    )
    return bins
