"""ROC AUC and average precision of each class against the rest, and their averages over classes.

They are exact while a summary keeps all bits of its scores (`monitors/stats/mergeable/class_scores.py`). Beyond, scores
that share a step are ties: ROC AUC of a class is then off by at most half the share of pairs that share one, and rows
of a step count for average precision as if they came in random order. Averages of up to 100 classes were off by less
than 0.0001 where a softmax made the scores; of 1,000 classes, or where most scores are near 0, by up to 0.006.

The mean of what scikit-learn calls `multi_class="ovr"` is over the classes that have rows and whose rest has rows: of
others it is undefined.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitors.stats.mergeable.outcomes import MulticlassOutcomeSummary
from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.performance.estimate import Z95, Estimate, wilson_interval
from monitors.stats.performance.ranking_curves import logit_interval


@dataclass(frozen=True, eq=False, slots=True)
class ClassCurves:
    """By the position of a class, its rows and its two estimates, which have no value where a side has no rows."""

    n: int
    positives: FloatArray
    roc_auc: list[Estimate]
    average_precision: list[Estimate]


def class_curves(outcome: MulticlassOutcomeSummary) -> ClassCurves:
    """Measure each class against the rest. The intervals are DeLong's (1988) and the logit of Boyd et al. (2013).

    A side of one row has the largest spread that its placements can have, as one row does not show any.
    """
    scores, k = outcome.scores, len(outcome.classes)
    own, hits, misses = scores.classes, scores.positives.astype(np.float64), scores.negatives
    n_hits, n_misses = (np.bincount(own, counts, k) for counts in (hits, misses))
    hits_below, misses_below = (
        np.cumsum(counts) - counts - (np.cumsum(of_class) - of_class)[own]
        for counts, of_class in ((hits, n_hits), (misses, n_misses))
    )
    of_hits, of_misses = np.maximum(n_hits, 1), np.maximum(n_misses, 1)
    above = (misses_below + misses / 2) / of_misses[own]
    below = 1 - (hits_below + hits / 2) / of_hits[own]
    auc = np.bincount(own, hits * above, k) / of_hits
    variance = sum(
        _spread(np.bincount(own, counts * (placed - auc[own]) ** 2, k), of_class, auc) / of_class
        for counts, placed, of_class in ((hits, above, of_hits), (misses, below, of_misses))
    )
    found, wrong = n_hits[own] - hits_below, n_misses[own] - misses_below
    if (
        scores.dropped_bits
    ):  # a step then holds several scores: its rows come in any order, on average half of them before
        found, wrong = found - (hits - 1) / 2, wrong - misses / 2
    precision = found / np.maximum(found + wrong, 1)
    average = np.bincount(own, hits * precision, k) / of_hits
    half = Z95 * np.sqrt(variance)
    lower, upper = np.maximum(auc - half, 0.0), np.minimum(auc + half, 1.0)
    known = (n_hits > 0) & (n_misses > 0)
    return ClassCurves(
        n=scores.n,
        positives=n_hits,
        roc_auc=[
            Estimate(float(auc[i]), scores.n, float(lower[i]), float(upper[i]), "delong")
            if known[i] else Estimate(None, scores.n)
            for i in range(k)
        ],
        average_precision=[
            Estimate(float(average[i]), scores.n, *_bounds(float(average[i]), int(n_hits[i])), "logit")
            if known[i] else Estimate(None, scores.n)
            for i in range(k)
        ],
    )  # fmt: skip


def _spread(squares: FloatArray, rows: FloatArray, mean: FloatArray) -> FloatArray:
    return np.where(rows > 1, squares / np.maximum(rows - 1, 1), mean * (1 - mean))


def _bounds(value: float, positives: int) -> tuple[float, float]:
    """Bound an average precision; a perfect one, of which no logit tells anything, as a share of its positives."""
    if value < 1:
        return logit_interval(value, positives)
    return wilson_interval(positives, positives)


def curve_averages(outcome: MulticlassOutcomeSummary) -> dict[str, Estimate]:
    """Average both over classes, equally (macro) and by their rows (weighted).

    Classes are measured on the same rows, so their errors may go together: the bounds of the mean are the means of the
    bounds, which is the widest that they can be. `classes_left_out` counts those with rows on one side alone.
    """
    if not outcome.scores.n:
        names = ("roc_auc", "weighted_roc_auc", "average_precision", "weighted_average_precision")
        return dict.fromkeys(names, Estimate(None, 0))
    curves = class_curves(outcome)
    return {
        prefix + name: _average(estimates, curves, by_rows=bool(prefix))
        for name, estimates in (
            ("roc_auc", curves.roc_auc),
            ("average_precision", curves.average_precision),
        )
        for prefix in ("", "weighted_")
    }


def _average(estimates: list[Estimate], curves: ClassCurves, *, by_rows: bool) -> Estimate:
    known = [place for place, estimate in enumerate(estimates) if estimate.value is not None]
    if not known:
        return Estimate(None, curves.n)
    table = np.array(
        [[estimates[i].value, estimates[i].lower, estimates[i].upper] for i in known], np.float64
    )
    rows = curves.positives[known] if by_rows else np.ones(len(known))
    shares = rows / rows.sum()
    value, lower, upper = shares @ table
    if by_rows:  # how many rows a class has is by chance too
        half = Z95 * np.sqrt(shares @ (table[:, 0] - value) ** 2 / rows.sum())
        lower, upper = value - np.hypot(value - lower, half), value + np.hypot(upper - value, half)
    left_out = len(estimates) - len(known)
    return Estimate(
        float(value), curves.n, max(float(lower), 0.0), min(float(upper), 1.0), estimates[known[0]].method,
        {"classes_left_out": left_out} if left_out else {},
    )  # fmt: skip
