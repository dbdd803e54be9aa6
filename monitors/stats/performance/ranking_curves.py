"""How well scores put positives above negatives, from summaries of both: ROC AUC and average precision.

They are exact while each side has at most `MAX_DISTINCT` different scores. Beyond it, scores that share a grid cell
count as ties: ROC AUC is then off by at most half the share of pairs, of a positive and a negative, that share one.
"""

from __future__ import annotations

import numpy as np

from monitors.stats.mergeable.sketches import FloatArray, NumericSummary, Steps, steps_of
from monitors.stats.performance.estimate import Z95, Estimate


def roc_auc(positives: NumericSummary, negatives: NumericSummary) -> Estimate:
    """Measure the chance that a positive scores above a negative (a tie counts half).

    The interval is DeLong's (1988), from each side's placements.
    """
    n = positives.n + negatives.n
    if not positives.n or not negatives.n:
        return Estimate(None, n)
    hits, misses = steps_of(positives, negatives)
    above, below = _placements(hits, misses), 1 - _placements(misses, hits)
    value = float(hits.counts @ above) / positives.n
    if positives.n < 2 or negatives.n < 2:
        return Estimate(value, n)
    variance = _spread(above, hits) / positives.n + _spread(below, misses) / negatives.n
    half = Z95 * float(np.sqrt(variance))
    return Estimate(value, n, max(value - half, 0.0), min(value + half, 1.0), "delong")


def _placements(these: Steps, others: Steps) -> FloatArray:
    """For each step of `these`, the share of the others that score lower, ties counted half."""
    up_to = np.concatenate([[0], np.cumsum(others.counts)])
    below = up_to[np.searchsorted(others.ids, these.ids, side="left")]
    up_to_tie = up_to[np.searchsorted(others.ids, these.ids, side="right")]
    share: FloatArray = (below + up_to_tie) / (2.0 * up_to[-1])
    return share


def _spread(placements: FloatArray, side: Steps) -> float:
    n = int(side.counts.sum())
    mean = float(side.counts @ placements) / n
    return float(side.counts @ (placements - mean) ** 2) / (n - 1)


def average_precision(positives: NumericSummary, negatives: NumericSummary) -> Estimate:
    """Average the precision over the recalls that thresholds from the top down reach, as scikit-learn does.

    The bounds are the logit interval of Boyd, Eng and Page (2013); its number of observations is that of the
    positives.
    """
    n = positives.n + negatives.n
    if not positives.n:
        return Estimate(None, n)
    hits, misses = steps_of(positives, negatives)
    found = np.cumsum(hits.counts[::-1])
    misses_below = np.concatenate([[0], np.cumsum(misses.counts)])[
        np.searchsorted(misses.ids, hits.ids[::-1], side="left")
    ]
    precision = found / (found + negatives.n - misses_below)
    value = float(hits.counts[::-1] @ precision) / positives.n
    if not 0 < value < 1:
        return Estimate(value, n)
    return Estimate(value, n, *logit_interval(value, positives.n), "logit")


def logit_interval(value: float, positives: int) -> tuple[float, float]:
    """Bound an average precision between 0 and 1, neither included, at 95 % (Boyd, Eng and Page, 2013)."""
    logit, half = np.log(value / (1 - value)), Z95 / np.sqrt(positives * value * (1 - value))
    lower, upper = (float(1 / (1 + np.exp(-bound))) for bound in (logit - half, logit + half))
    return lower, upper
