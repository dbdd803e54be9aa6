"""How much rows lose by the values of one column: whether it matters to the model that the column moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray, IntArray
from monitors.stats.performance.blocks import MIN_BLOCKS, jackknife_error
from monitors.stats.segments.conditions import RowCondition, cut_column

MIN_ROWS = 10  # of a level that has a line of its own, and of an interval
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class ValueLoss:
    """The `n` rows that meet a condition and their mean loss; bounds at 95 %, None of too few rows."""

    condition: RowCondition
    n: int
    mean: float
    lower: float | None
    upper: float | None


def losses_by_value(
    feature: str, values: NDArray[Any], losses: FloatArray, blocks: IntArray
) -> list[ValueLoss]:
    """Average the losses of rows by what the column holds: an eighth of a number's rows, a category, what is missing.

    `losses` are finite and 0 or more, `blocks` number what belongs together in time (an hour). Of a category the levels
    of ten rows or more are told, the most frequent first. An interval is the wider one of that over rows and, where
    there are seven blocks, that over blocks left out one by one (see `monitors.stats.performance.blocks`).
    """
    cells = cut_column(feature, values, least=MIN_ROWS)
    if cells is None:
        return []
    found = [
        (cells.condition(code, code), np.flatnonzero(cells.codes == code))
        for code in range(cells.size)
        if (cells.codes == code).any()
    ]
    return [_averaged(condition, losses[rows], blocks[rows]) for condition, rows in found]


def _averaged(condition: RowCondition, losses: FloatArray, blocks: IntArray) -> ValueLoss:
    n, mean = losses.size, float(losses.mean())
    if n < MIN_ROWS:
        return ValueLoss(condition, n, mean, None, None)
    half = _half_width(float(losses.std(ddof=1) / np.sqrt(n)), n - 1)
    _, block, sizes = np.unique(blocks, return_inverse=True, return_counts=True)
    if sizes.size >= MIN_BLOCKS:
        sums = np.bincount(block, losses)
        without = (losses.sum() - sums) / (n - sizes)
        half = max(half, _half_width(jackknife_error(mean, sizes.astype(float), without), sizes.size - 1))
    return ValueLoss(condition, n, mean, max(mean - half, 0.0), mean + half)


def _half_width(error: float, freedom: int) -> float:
    return float(scipy.special.stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
