"""Performance before labels come: what calibrated probabilities, or a reference's errors, let one expect.

Confidence-based estimation (CBPE, as in NannyML): the calibrated probability of a row is taken for the chance that
it is positive, so a predicted positive adds p to the expected true positives and 1 - p to the false ones, and all
else follows. ROC AUC orders rows by the raw score. It holds as long as the calibration of the reference does: it
sees shifts of the inputs, and is blind to a change of what the labels mean.

Everything is computed from the score grid of a window. Which rows were answered with the positive class is not on
the grid: a model that decides by a threshold answers so the rows of the highest scores, and how many they were is
known. Whether the model decides like that is checked on the reference.

An interval is where the realised metric should lie: simulated labels are drawn with the calibrated probabilities,
which themselves vary as a resampled reference would have given them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.outcomes import PROBABILITY_EPS, BinaryOutcomeSummary, MulticlassOutcomeSummary
from monitors.stats.mergeable.sketches import FloatArray, NumericSummary
from monitors.stats.performance.calibration import ScoreCells, calibration_error, score_cells
from monitors.stats.performance.estimate import Z95, Estimate

MIN_REFERENCE_ROWS = 200
FOLDS = 10
CALIBRATIONS = 50  # resampled references
LABELS_A_CALIBRATION = 4
_GROUPS = 128  # of neighbouring cells that labels are simulated for together
_RANK_TOLERANCE = 0.005  # of the reference's rows that a threshold may put elsewhere than the model did


@dataclass(frozen=True, eq=False)
class ConfidenceEstimator:
    """A reference's calibration: `scores` ascend, `shares` are how often such scores come true.

    `deviations` (one row a resampled reference) are how far it would have lain from `shares`. `is_binary` tells
    whether a score is the positive class's probability, else it is the answered class's of several.
    """

    scores: FloatArray
    shares: FloatArray
    deviations: NDArray[np.float32]
    is_binary: bool
    is_recalibrated: bool

    def calibrated(self, probability: FloatArray) -> FloatArray:
        """Return how often scores like these come true; beyond the reference's range as at its ends."""
        shares: FloatArray = np.interp(probability, self.scores, self.shares)
        return shares if self.is_recalibrated else probability

    def varied(self, probability: FloatArray) -> FloatArray:
        """Return the same as each resampled reference would have, one row each."""
        moved = [np.interp(probability, self.scores, row) for row in self.deviations]
        shares: FloatArray = np.clip(self.calibrated(probability) + np.array(moved), 0.0, 1.0)
        return shares


def prepare_estimator(
    reference: BinaryOutcomeSummary | MulticlassOutcomeSummary, *, rng: np.random.Generator
) -> ConfidenceEstimator | str:
    """Learn from a reference how often scores come true; where it cannot tell, the answer is the reason.

    Scores are recalibrated by isotonic regression only if that lowers their expected calibration error out of
    fold, in ten folds of rows that `rng` draws; well calibrated scores stay as they are.
    """
    is_binary = isinstance(reference, BinaryOutcomeSummary)
    hits, misses = (
        (reference.positives, reference.negatives)
        if isinstance(reference, BinaryOutcomeSummary)
        else (reference.right, reference.wrong)
    )
    if hits.n + misses.n < MIN_REFERENCE_ROWS:
        return f"The reference has {hits.n + misses.n} rows with label and probability, not {MIN_REFERENCE_ROWS}."
    if not hits.n or not misses.n:
        return "All labels of the reference are the same."
    if isinstance(reference, BinaryOutcomeSummary) and not _decides_by_rank(reference):
        return "On the reference the answer does not follow from a threshold on the score."
    cells = score_cells(hits, misses)
    shares = _isotonic(cells.hits, cells.counts)
    resampled = rng.multinomial(
        int(cells.counts.sum()),
        np.concatenate([cells.hits, cells.misses]) / cells.counts.sum(),
        size=CALIBRATIONS,
    )
    k = cells.hits.size
    deviations = [_isotonic(draw[:k], draw[:k] + draw[k:]) - shares for draw in resampled]
    return ConfidenceEstimator(
        scores=cells.probability,
        shares=shares,
        deviations=np.array(deviations, dtype=np.float32),
        is_binary=is_binary,
        is_recalibrated=_is_recalibration_better(cells, rng),
    )


def _decides_by_rank(reference: BinaryOutcomeSummary) -> bool:
    """Return whether the highest scores, as many as were answered positive, hold the true positives that were found."""
    cells = score_cells(reference.positives, reference.negatives)
    answered = _top_rows(cells.counts, reference.tp + reference.fp)
    found = float((cells.hits * answered / np.maximum(cells.counts, 1)).sum())
    return abs(found - reference.tp) <= 1 + _RANK_TOLERANCE * reference.n


def _top_rows(counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Count the rows of each ascending cell that belong to the `most` rows of the highest scores."""
    above = counts[::-1].cumsum()[::-1] - counts
    top: NDArray[np.int64] = np.clip(most - above, 0, counts)
    return top


def _isotonic(hits: NDArray[np.int64], counts: NDArray[np.int64]) -> FloatArray:
    """Fit ascending shares to the hits of ascending cells; a cell without rows takes its neighbours' share."""
    from scipy.optimize import isotonic_regression  # as long to load as all else that a process needs

    filled = counts > 0
    fitted = isotonic_regression(hits[filled] / counts[filled], weights=counts[filled]).x
    places = np.arange(counts.size)
    shares: FloatArray = np.interp(places, places[filled], fitted)
    return shares


def _is_recalibration_better(cells: ScoreCells, rng: np.random.Generator) -> bool:
    """Compare the calibration error of the scores with that of out-of-fold recalibrated ones."""
    even = np.full(FOLDS, 1 / FOLDS)
    hits, misses = rng.multinomial(cells.hits, even), rng.multinomial(cells.misses, even)
    probability, fold_hits, fold_misses = [], [], []
    for fold in range(FOLDS):
        learnt_hits, learnt = cells.hits - hits[:, fold], cells.counts - hits[:, fold] - misses[:, fold]
        if not learnt.any():
            return False
        probability.append(_isotonic(learnt_hits, learnt))
        fold_hits.append(hits[:, fold])
        fold_misses.append(misses[:, fold])
    recalibrated = ScoreCells(
        np.concatenate(probability), np.concatenate(fold_hits), np.concatenate(fold_misses)
    )
    before, after = calibration_error(cells).value, calibration_error(recalibrated).value
    assert before is not None
    assert after is not None
    return after < before


def estimate_performance(
    estimator: ConfidenceEstimator, score: NumericSummary, *, answered: int, rng: np.random.Generator
) -> dict[str, Estimate]:
    """Estimate a window's metrics from its scores, by the names of the metrics that they estimate.

    `answered` counts the rows that were answered with the positive class; of several classes, where the score is
    the answered one's, it is not looked at and accuracy is all there is. `rng` draws the simulated labels.
    """
    rows = _cells_of(score, answered if estimator.is_binary else score.n)
    if not rows.counts.size:
        return {name: Estimate(None, 0) for name in (_BINARY if estimator.is_binary else ("accuracy",))}
    value = _metrics(rows, rows.counts * estimator.calibrated(rows.probability)[np.newaxis, :])
    groups = rows.grouped()
    chances = np.repeat(estimator.varied(groups.probability), LABELS_A_CALIBRATION, axis=0)
    drawn = _metrics(groups, rng.binomial(groups.counts, chances).astype(np.float64))
    names = _BINARY if estimator.is_binary else ("accuracy",)
    return {name: _estimate(name, float(value[name][0]), drawn[name], score.n) for name in names}


_BINARY = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "brier")


def _estimate(name: str, value: float, drawn: FloatArray, n: int) -> Estimate:
    if not np.isfinite(value):
        return Estimate(None, n)
    known = drawn[np.isfinite(drawn)]
    if known.size < 2:
        return Estimate(value, n)
    half = Z95 * float(np.std(known))
    most = np.inf if name == "log_loss" else 1.0
    return Estimate(value, n, max(value - half, 0.0), min(value + half, most), "simulated")


@dataclass(frozen=True, eq=False)
class _Rows:
    """A window's rows by ascending score: cells of rows that were all answered alike.

    `log_loss` and `brier` hold what a row of the cell costs when it comes true and when it does not.
    """

    probability: FloatArray
    counts: NDArray[np.int64]
    is_answered: NDArray[np.bool_]
    log_loss: tuple[FloatArray, FloatArray]
    brier: tuple[FloatArray, FloatArray]

    def grouped(self) -> _Rows:
        """Put neighbouring cells together, about 128 groups of as many rows; those answered otherwise stay apart."""
        rank = (self.counts.cumsum() - self.counts) * _GROUPS // max(int(self.counts.sum()), 1)
        group = np.cumsum(np.diff(2 * rank + self.is_answered, prepend=-1) != 0) - 1
        counts = np.bincount(group, self.counts)

        def mean(values: FloatArray) -> FloatArray:
            averaged: FloatArray = np.bincount(group, values * self.counts) / counts
            return averaged

        return _Rows(
            mean(self.probability),
            counts.astype(np.int64),
            np.bincount(group, self.is_answered) > 0,
            (mean(self.log_loss[0]), mean(self.log_loss[1])),
            (mean(self.brier[0]), mean(self.brier[1])),
        )


def _cells_of(score: NumericSummary, answered: int) -> _Rows:
    """Read the rows off a score grid; the cell in which the answers change is split."""
    probability, top = score.positions, _top_rows(score.counts, answered)
    parts = np.column_stack([score.counts - top, top]).ravel()
    filled = parts > 0
    p = np.clip(np.repeat(probability, 2)[filled], PROBABILITY_EPS, 1 - PROBABILITY_EPS)
    return _Rows(
        probability=p,
        counts=parts[filled],
        is_answered=np.tile([False, True], probability.size)[filled],
        log_loss=(-np.log(p), -np.log1p(-p)),
        brier=((1 - p) ** 2, p**2),
    )


def _metrics(rows: _Rows, hits: FloatArray) -> Mapping[str, FloatArray]:
    """Measure every metric for each row of `hits`, which counts each cell's positives; NaN where undefined."""
    misses, n = rows.counts - hits, rows.counts.sum()
    tp, tn = hits[:, rows.is_answered].sum(axis=1), misses[:, ~rows.is_answered].sum(axis=1)
    answered, positives = rows.counts[rows.is_answered].sum(), hits.sum(axis=1)
    negatives = n - positives
    below = misses.cumsum(axis=1) - misses / 2  # a tie counts half
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "accuracy": (tp + tn) / n,
            "precision": tp / answered,
            "recall": tp / positives,
            "f1": 2 * tp / (answered + positives),
            "roc_auc": (hits * below).sum(axis=1) / (positives * negatives),
            "log_loss": (hits @ rows.log_loss[0] + misses @ rows.log_loss[1]) / n,
            "brier": (hits @ rows.brier[0] + misses @ rows.brier[1]) / n,
        }
