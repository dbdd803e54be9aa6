"""Intervals that do not take a window's rows as independent: its shorter windows are the draws.

Rows of one hour resemble each other (the same weather, batch or customer), so an interval that counts each row as
news is too narrow. The jackknife leaves out one block of time after another and looks how far each metric moves
(Künsch, 1989, for dependent rows; Busing, Meijer and van der Leeden, "Delete-m jackknife for unequal m",
Statistics and Computing 9, 1999, for blocks of unequal size). It takes blocks as independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from monitors.stats.mergeable.outcomes import OutcomeSummary, merge_outcomes
from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.performance.estimate import Estimate
from monitors.stats.performance.metrics import measure_outcomes

MIN_BLOCKS = 7  # of a week's days, as well as of a day's hours

# What each metric can be; the others are bounded below by 0 as all losses are.
RANGES = {"r2": (-np.inf, 1.0), "bias": (-np.inf, np.inf)} | dict.fromkeys(
    (
        "accuracy", "precision", "recall", "f1", "weighted_precision", "weighted_f1", "roc_auc",
        "average_precision", "weighted_roc_auc", "weighted_average_precision", "ece", "ndcg", "ndcg_at_10",
        "mean_average_precision", "mrr", "hit_rate_at_10",
    ),
    (0.0, 1.0),
)  # fmt: skip


def measure_blocks(
    whole: OutcomeSummary,
    blocks: Sequence[OutcomeSummary],
    *,
    quantile: float | None = None,
    metric: str = "",
) -> dict[str, Estimate]:
    """Measure a window that consists of these blocks, each metric, or one alone, with the wider of two intervals.

    They are the one over rows and the one over blocks (`method` is then `jackknife`, and `detail` counts the
    blocks). The wider one is taken because few blocks may agree by chance, which is no proof that rows tell more
    than they do when they are independent. Fewer than seven blocks with rows, or blocks that hold other rows than
    the window does, give the one over rows alone.
    """
    measured = measure_outcomes(whole, quantile=quantile, metric=metric)
    filled = [block for block in blocks if block.n]
    if len(filled) < MIN_BLOCKS or sum(block.n for block in filled) != whole.n:
        return measured
    sizes = np.array([block.n for block in filled], dtype=np.float64)
    without = [measure_outcomes(rest, quantile=quantile, metric=metric) for rest in _leave_one_out(filled)]
    return {
        name: _wider(name, estimate, sizes, [part[name].value for part in without])
        for name, estimate in measured.items()
    }


def _leave_one_out(blocks: Sequence[OutcomeSummary]) -> list[OutcomeSummary]:
    """Add up all blocks but each one, from running sums of both ends: three merges a block, not one per pair."""
    before, after = [blocks[0]], [blocks[-1]]
    for block in blocks[1:-1]:
        before.append(merge_outcomes([before[-1], block]))
    for block in reversed(blocks[1:-1]):
        after.append(merge_outcomes([block, after[-1]]))
    inner = [merge_outcomes([before[i - 1], after[-1 - i]]) for i in range(1, len(blocks) - 1)]
    return [after[-1], *inner, before[-1]]


def _wider(name: str, estimate: Estimate, sizes: FloatArray, without: Sequence[float | None]) -> Estimate:
    if estimate.value is None or any(value is None for value in without):
        return estimate
    with np.errstate(over="ignore", invalid="ignore"):
        error = jackknife_error(estimate.value, sizes, np.array(without, dtype=np.float64))
    if not np.isfinite(error):  # as of values whose squares are too large for a float
        return estimate
    half = float(scipy.special.stdtrit(sizes.size - 1, 0.975)) * error
    least, most = RANGES.get(name, (0.0, np.inf))
    lower, upper = max(estimate.value - half, least), min(estimate.value + half, most)
    known = estimate.lower is not None and estimate.upper is not None
    if known and upper - lower <= estimate.upper - estimate.lower:  # type: ignore[operator]
        return estimate
    detail = {**estimate.detail, "blocks": sizes.size}
    return Estimate(estimate.value, estimate.n, lower, upper, "jackknife", detail)


def jackknife_error(value: float, sizes: FloatArray, without: FloatArray) -> float:
    """Estimate the standard error of `value`, given its values `without` each block of these sizes.

    With blocks of one row each and a mean, it is the mean's standard error:

    >>> rows = np.array([1.0, 2.0, 4.0])
    >>> left_out = (rows.sum() - rows) / 2
    >>> bool(np.isclose(jackknife_error(rows.mean(), np.ones(3), left_out), rows.std(ddof=1) / np.sqrt(3)))
    True
    """
    times = sizes.sum() / sizes
    pseudo = times * value - (times - 1) * without
    middle = sizes.size * value - float(((1 - 1 / times) * without).sum())
    variance = float(((pseudo - middle) ** 2 / (times - 1)).mean())
    return float(np.sqrt(max(variance, 0.0)))
