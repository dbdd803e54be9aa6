"""A classifier that tries to tell a window's rows from its reference's, in all columns at once.

Where both come from one distribution it can only guess: its ROC AUC on rows that it did not learn from is near 0.5.
The further the AUC lies above, the easier the two are told apart, whatever it is that changed: also what no column
shows alone, such as two that no longer go together (Lopez-Paz and Oquab 2017, classifier two-sample tests; as
NannyML's domain classifier, gradient-boosted trees and out-of-fold scores).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monitors.stats.boosted_trees import deal_folds, train_out_of_fold
from monitors.stats.joint.rows import JointRows, level_shares, look_up
from monitors.stats.mergeable.sketches import FloatArray, IntArray, summarise_numbers
from monitors.stats.performance.estimate import Estimate
from monitors.stats.performance.ranking_curves import roc_auc

FOLDS = 3
ROUNDS = 40


@dataclass(frozen=True, eq=False)
class Separation:
    """How well window and reference are told apart: the out-of-fold ROC AUC, and each column's share of the gain."""

    auc: Estimate
    shares: Mapping[str, float]


def separate(reference: JointRows, window: JointRows) -> Separation:
    """Measure how well boosted trees tell the window's rows from the reference's, which have the same columns.

    Rows of one hour are never both learnt from and judged, as far as a side has hours enough: they resemble each
    other. Undefined where a side has fewer rows than there are folds, or there is no column.
    """
    n = len(window)
    if min(n, len(reference)) < FOLDS or not reference.names:
        return Separation(Estimate(None, n), {})
    values = np.vstack(_recoded(reference, window))
    is_window = np.repeat([0.0, 1.0], [len(reference), n])
    folds = np.concatenate([deal_folds(_groups(side), FOLDS) for side in (reference, window)])
    scores, gain = _out_of_fold(values, is_window, folds)
    sides = [summarise_numbers(scores[is_window == side], centre=0.0) for side in (1.0, 0.0)]
    total = float(gain.sum())
    shares = gain / total if total > 0 else np.zeros_like(gain)
    measured = roc_auc(*sides)
    auc = Estimate(measured.value, n, measured.lower, measured.upper, measured.method)
    return Separation(auc, dict(zip(reference.names, shares.tolist(), strict=True)))


def _recoded(reference: JointRows, window: JointRows) -> tuple[FloatArray, FloatArray]:
    """Order a category's levels by their share of the reference; rare and unknown ones are one level."""
    columns = reference.values.copy(), window.values.copy()
    for column in np.flatnonzero(reference.is_category).tolist():
        shares = level_shares(reference, column)
        ranks = np.empty(len(shares))
        ranks[np.argsort(-shares, kind="stable")] = np.arange(len(shares))
        frequent = int((shares > 0).sum())
        for values in columns:
            ranked = look_up(ranks, values[:, column], otherwise=frequent)
            values[:, column] = np.minimum(ranked, frequent)
    return columns


def _groups(rows: JointRows) -> IntArray:
    """Number what stays together in one fold: the rows of an hour, or each row where hours are too few to split."""
    if rows.hours is not None and np.unique(rows.hours).size >= 2 * FOLDS:
        return rows.hours
    return -1 - np.arange(len(rows))


def _out_of_fold(values: FloatArray, target: FloatArray, folds: IntArray) -> tuple[FloatArray, FloatArray]:
    """Score each row by trees that have not seen its fold, and add up what each column gained them.

    A score is how far the trees move the log-odds from the share of window rows that they learnt from: a fold that
    happens to have more of these leaves fewer to learn from, and scores would rank the folds the wrong way round.
    """
    scores, gain = np.zeros(len(values)), np.zeros(values.shape[1])
    trained = train_out_of_fold(values, target, folds, objective="binary", rounds=ROUNDS)
    for inside, trees in trained:
        share = float(target[~inside].mean())
        log_odds = trees.predict(values[inside], raw_score=True, num_threads=1)
        scores[inside] = log_odds - np.log(share / (1 - share))
        gain += trees.feature_importance("gain")
    return scores, gain
