"""Custom metrics of two versions on the same requests, with bounds of their difference."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from monitors.stats.expressions.evaluation import MetricValues
from monitors.stats.expressions.tree import Aggregate, AggregateFunction
from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.promotion.differences import (
    MetricByBlocks,
    MetricDifference,
    blocks_of,
    difference_of,
    has_days,
)
from monitors.stats.promotion.standard_errors import StandardError

COMPARED = (
    AggregateFunction.COUNT,
    AggregateFunction.SUM,
    AggregateFunction.MEAN,
    AggregateFunction.SHARE,
    AggregateFunction.RATIO,
)
"""Those that are made of sums, of which each block has its part."""


def custom_differences(
    champion: MetricValues,
    challenger: MetricValues,
    block: NDArray[np.int64],
    *,
    higher_is_better: Mapping[str, bool],
    tail: float,
) -> dict[str, MetricDifference]:
    """Compare the metrics of COMPARED, by their keys; column i of both is one request, and `block` numbers its day.

    Either bound is wrong with the chance `tail`. A metric that is undefined for one version is left out.
    """
    blocks, count = blocks_of(block)
    rows, are_days, found = np.bincount(blocks, minlength=count), has_days(block), {}
    for place, (key, metric) in enumerate(champion.metrics.items()):
        if metric.function not in COMPARED:
            continue
        former, newer = (
            _by_blocks(metric, side.values[place], side.divisors.get(key), blocks, count)
            for side in (champion, challenger)
        )
        if np.isfinite([former.value, newer.value]).all():
            error = StandardError.of(newer.influences - former.influences, rows, are_days=are_days)
            found[key] = difference_of(
                key, former, newer, error, tail, higher_is_better=higher_is_better[key]
            )
    return found


def _by_blocks(
    metric: Aggregate,
    values: FloatArray,
    divisors: FloatArray | None,
    blocks: NDArray[np.int64],
    count: int,
) -> MetricByBlocks:
    """Compute a metric and what each block adds to it; NaN where no row counts."""
    counted = np.isfinite(values)
    below = np.ones(len(values)) if divisors is None else divisors

    def sums(numbers: FloatArray) -> FloatArray:
        return np.bincount(blocks[counted], weights=numbers[counted], minlength=count)

    totals = sums(values)
    if metric.function in (AggregateFunction.COUNT, AggregateFunction.SUM):
        return MetricByBlocks(float(totals.sum()), totals - totals.mean())
    parts = sums(below)
    divisor = float(parts.sum())
    if not divisor:
        return MetricByBlocks(float("nan"), np.zeros(count))
    value = float(totals.sum()) / divisor
    return MetricByBlocks(value, (totals - value * parts) / divisor)
