"""Whether labels come by what was predicted, and how a comparison would end if those that never came were the worst."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.outcomes import PROBABILITY_EPS
from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.promotion.differences import METRICS, MetricDifference
from monitors.stats.promotion.pairs import Pairs, paired_metrics


@dataclass(frozen=True, slots=True)
class SelectiveLabels:
    """Whether the chance that a label arrives depends on what was predicted.

    `coverage_by_answer` is the share of labelled pairs from the lowest to the highest fifth of the
    champion's scores (multiclass: by its class); `p_value` is chi-square's.
    """

    coverage: float
    coverage_by_answer: list[float]
    p_value: float
    found: bool


def find_selective_labels(pairs: Pairs, labelled: NDArray[np.bool_]) -> SelectiveLabels:
    """Test whether coverage depends on the champion's answer: significant (p < 0.01) and two points apart."""
    coverage = float(labelled.mean()) if labelled.size else 0.0
    if labelled.all() or not labelled.any():
        return SelectiveLabels(coverage, [], 1.0, found=False)
    if pairs.task == "multiclass":
        _, group = np.unique(pairs.champion_answer, return_inverse=True)
    else:
        fifths = np.quantile(pairs.champion, [0.2, 0.4, 0.6, 0.8])
        _, group = np.unique(np.searchsorted(fifths, pairs.champion), return_inverse=True)
    with_label, rows = np.bincount(group, weights=labelled), np.bincount(group)
    shares = with_label / rows
    if shares.size < 2:
        return SelectiveLabels(coverage, shares.tolist(), 1.0, found=False)
    from scipy.stats import chi2_contingency  # as long to load as all else that a process needs

    table = np.array([with_label, rows - with_label])
    p_value = float(chi2_contingency(table, correction=False).pvalue)
    found = p_value < 0.01 and float(np.ptp(shares)) >= 0.02
    return SelectiveLabels(coverage, shares.tolist(), p_value, found)


def worst_case(pairs: Pairs, labelled: NDArray[np.bool_], *, tail: float) -> dict[str, MetricDifference]:
    """The metrics with every missing label at the value that is worst for the challenger on that metric."""
    worst: dict[str, MetricDifference] = {}
    for name in METRICS[pairs.task]:
        y = np.where(labelled, pairs.y, _worst_labels(name, pairs, labelled))
        worst |= paired_metrics(replace(pairs, y=y), tail=tail, names=(name,))
    return worst


def _ranks(score: FloatArray) -> FloatArray:
    """Number the scores from the lowest; those that tie share the mean of their places."""
    ordered = np.sort(score)
    return (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / 2


def _worst_labels(metric: str, pairs: Pairs, labelled: NDArray[np.bool_]) -> FloatArray:
    if metric == "accuracy":
        return pairs.champion_answer
    if metric == "roc_auc":
        # Only the order of scores counts: whom the challenger ranks lower is a positive.
        lower = _ranks(pairs.challenger) < _ranks(pairs.champion)
        return lower.astype(np.float64)
    if pairs.task == "binary":
        return (pairs.challenger < pairs.champion).astype(np.float64)
    if pairs.task == "multiclass":
        champion, challenger = (np.clip(p, PROBABILITY_EPS, 1) for p in (pairs.champion, pairs.challenger))
        return np.argmax(np.log(champion / challenger), axis=1).astype(np.float64)
    seen = pairs.y[labelled]
    return np.where(pairs.challenger > pairs.champion, seen.min(), seen.max())
