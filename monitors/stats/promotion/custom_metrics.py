"""Custom metrics of two versions on the same requests, with bounds of their difference."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from monitors.stats.expressions.evaluation import MetricValues
from monitors.stats.expressions.tree import Aggregate, AggregateFunction
from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.promotion.differences import (
    MetricDifference,
    difference_of,
    draw_weights,
    resampling_blocks,
)

COMPARED = (
    AggregateFunction.COUNT,
    AggregateFunction.SUM,
    AggregateFunction.MEAN,
    AggregateFunction.SHARE,
    AggregateFunction.RATIO,
)
"""Those that are made of sums, so that blocks can be drawn again."""


def custom_differences(
    champion: MetricValues,
    challenger: MetricValues,
    block: NDArray[np.int64],
    *,
    higher_is_better: Mapping[str, bool],
    rng: np.random.Generator,
    confidence: float = 0.95,
    draws: int = 1_000,
) -> dict[str, MetricDifference]:
    """Compare the metrics of COMPARED, by their keys; column i of both is one request, and `block` numbers its day.

    Blocks are drawn for both versions at once, as in `differences`. A metric that is undefined for one is left out.
    """
    blocks, count = resampling_blocks(block, rng)
    weights = draw_weights(count, draws, rng)
    found = {}
    for place, (key, metric) in enumerate(champion.metrics.items()):
        if metric.function not in COMPARED:
            continue
        former, newer = (
            _draws(metric, side.values[place], side.divisors.get(key), blocks, weights)
            for side in (champion, challenger)
        )
        if np.isfinite([former[0], newer[0]]).all():
            found[key] = difference_of(key, former, newer, confidence, higher_is_better=higher_is_better[key])
    return found


def _draws(
    metric: Aggregate,
    values: FloatArray,
    divisors: FloatArray | None,
    blocks: NDArray[np.int64],
    weights: FloatArray,
) -> FloatArray:
    """Compute a metric under each row of block weights; NaN where no row of a draw counts."""
    counted = np.isfinite(values)
    below = np.ones(len(values)) if divisors is None else divisors

    def drawn(numbers: FloatArray) -> FloatArray:
        sums = np.bincount(blocks[counted], weights=numbers[counted], minlength=weights.shape[1])
        return weights @ sums

    if metric.function in (AggregateFunction.COUNT, AggregateFunction.SUM):
        return drawn(values)
    total, divisor = drawn(values), drawn(below)
    return np.divide(total, divisor, out=np.full(total.shape, np.nan), where=divisor != 0)
