"""How well scores put positives above negatives, from two score grids: ROC AUC and average precision."""

from __future__ import annotations

import numpy as np

from monitors.stats.mergeable.sketches import FloatArray, NumericSummary
from monitors.stats.performance.estimate import Z95, Estimate


def roc_auc(positives: NumericSummary, negatives: NumericSummary) -> Estimate:
    """Measure the chance that a positive scores above a negative (a tie counts half), from two score grids.

    Scores that share a grid cell count as ties. The interval is DeLong's (1988), from each side's placements.
    """
    n = positives.n + negatives.n
    if not positives.n or not negatives.n:
        return Estimate(None, n)
    above = _placements(positives, negatives)
    below = 1 - _placements(negatives, positives)
    value = float(positives.counts @ above) / positives.n
    if positives.n < 2 or negatives.n < 2:
        return Estimate(value, n)
    variance = _spread(above, positives) / positives.n + _spread(below, negatives) / negatives.n
    half = Z95 * float(np.sqrt(variance))
    return Estimate(value, n, max(value - half, 0.0), min(value + half, 1.0), "delong")


def _placements(these: NumericSummary, others: NumericSummary) -> FloatArray:
    """For each cell of `these`, the share of the others that score lower, ties counted half."""
    up_to = np.concatenate([[0], np.cumsum(others.counts)])
    below = up_to[np.searchsorted(others.keys, these.keys, side="left")]
    up_to_tie = up_to[np.searchsorted(others.keys, these.keys, side="right")]
    share: FloatArray = (below + up_to_tie) / (2.0 * others.n)
    return share


def _spread(placements: FloatArray, side: NumericSummary) -> float:
    mean = float(side.counts @ placements) / side.n
    return float(side.counts @ (placements - mean) ** 2) / (side.n - 1)


def average_precision(positives: NumericSummary, negatives: NumericSummary) -> Estimate:
    """Average the precision over the recalls that thresholds from the top down reach, as scikit-learn does.

    Scores that share a grid cell count as ties. The bounds are the logit interval of Boyd, Eng and Page (2013),
    whose number of observations is that of the positives.
    """
    n = positives.n + negatives.n
    if not positives.n:
        return Estimate(None, n)
    downwards = positives.keys[::-1]
    hits = np.cumsum(positives.counts[::-1])
    misses_below = np.concatenate([[0], np.cumsum(negatives.counts)])[
        np.searchsorted(negatives.keys, downwards, side="left")
    ]
    precision = hits / (hits + negatives.n - misses_below)
    value = float(positives.counts[::-1] @ precision) / positives.n
    if not 0 < value < 1:
        return Estimate(value, n)
    logit, half = np.log(value / (1 - value)), Z95 / np.sqrt(positives.n * value * (1 - value))
    lower, upper = (float(1 / (1 + np.exp(-bound))) for bound in (logit - half, logit + half))
    return Estimate(value, n, lower, upper, "logit")
