"""Metrics of two versions, and bounds of their difference.

Requests of one day resemble each other, so intervals come from resampling whole blocks (event days); rows only where
there are fewer than five of these. Every metric is written as a function of sums over blocks (for ROC AUC: of won
positive-negative pairs between every two blocks), so a thousand bootstrap draws are one matrix product.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.outcomes import PROBABILITY_EPS
from monitors.stats.mergeable.sketches import FloatArray

HIGHER_IS_BETTER = {
    "roc_auc": True, "accuracy": True, "log_loss": False, "brier": False, "mae": False, "rmse": False,
}  # fmt: skip
METRICS = {
    "binary": ("roc_auc", "log_loss", "accuracy", "brier"),
    "multiclass": ("log_loss", "accuracy", "brier"),
    "regression": ("mae", "rmse"),
}

MIN_BLOCKS = 5
ROW_BLOCKS = 200


@dataclass(frozen=True, slots=True)
class MetricDifference:
    """One metric where labels came; `lower` and `upper` bound `difference`, challenger minus champion."""

    metric: str
    higher_is_better: bool
    champion: float
    challenger: float
    difference: float
    lower: float
    upper: float

    @property
    def gain(self) -> tuple[float, float]:
        """The bounds of the challenger's advantage: positive is better, whatever the metric's direction."""
        return (self.lower, self.upper) if self.higher_is_better else (-self.upper, -self.lower)


def difference_of(
    name: str,
    champion: FloatArray,
    challenger: FloatArray,
    confidence: float,
    *,
    higher_is_better: bool | None = None,
) -> MetricDifference:
    """Bound the difference by the quantiles of its draws; the first of each is the observed value.

    The direction is that of the named metric, unless it is given.
    """
    if higher_is_better is None:
        higher_is_better = HIGHER_IS_BETTER[name]
    differences = challenger - champion
    tail = (1 - confidence) / 2
    lower, upper = np.nanquantile(differences[1:], [tail, 1 - tail])
    return MetricDifference(
        name, higher_is_better, float(champion[0]), float(challenger[0]), float(differences[0]),
        float(lower), float(upper),
    )  # fmt: skip


def draw_weights(count: int, draws: int, rng: np.random.Generator) -> FloatArray:
    """Weigh every block once in the first row, which gives the observed value; the others are bootstrap draws."""
    return np.vstack([np.ones(count), rng.multinomial(count, np.full(count, 1 / count), size=draws)])


def resampling_blocks(block: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], int]:
    """Number the blocks from 0; below five blocks resample (groups of) rows instead, dealt out at random."""
    days, numbered = np.unique(block, return_inverse=True)
    if days.size >= MIN_BLOCKS:
        return numbered, days.size
    count = min(block.size, ROW_BLOCKS)
    return rng.permutation(block.size) % count, count


def metric_draws(
    name: str,
    y: FloatArray,
    score: FloatArray,
    answer: FloatArray,
    blocks: NDArray[np.int64],
    weights: FloatArray,
) -> FloatArray:
    """The metric under each row of block weights; NaN where a draw holds a single class."""
    count = weights.shape[1]
    if name == "roc_auc":
        return _auc(y > 0.5, score, blocks, weights)
    losses = _LOSSES[name](y, score, answer)
    sums, rows = np.bincount(blocks, weights=losses, minlength=count), np.bincount(blocks, minlength=count)
    mean = (weights @ sums) / (weights @ rows)
    return np.sqrt(mean) if name == "rmse" else mean


def _own(y: FloatArray, score: FloatArray) -> FloatArray:
    """The probability given to the true class."""
    if score.ndim == 2:
        return score[np.arange(y.size), y.astype(np.int64)]
    return np.where(y > 0.5, score, 1 - score)


def _log_loss(y: FloatArray, score: FloatArray, answer: FloatArray) -> FloatArray:
    return -np.log(np.clip(_own(y, score), PROBABILITY_EPS, 1 - PROBABILITY_EPS))


def _brier(y: FloatArray, score: FloatArray, answer: FloatArray) -> FloatArray:
    if score.ndim == 2:
        own = _own(y, score)
        return (score**2).sum(axis=1) - 2 * own + 1
    return (score - y) ** 2


_LOSSES: dict[str, Callable[[FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "log_loss": _log_loss,
    "brier": _brier,
    "accuracy": lambda y, score, answer: (answer == y).astype(np.float64),
    "mae": lambda y, score, answer: np.abs(score - y),
    "rmse": lambda y, score, answer: (score - y) ** 2,
}


def _auc(
    positive: NDArray[np.bool_], score: FloatArray, blocks: NDArray[np.int64], weights: FloatArray
) -> FloatArray:
    count = weights.shape[1]
    won = _pairs_won(positive, score, blocks, count)
    positives = weights @ np.bincount(blocks[positive], minlength=count)
    negatives = weights @ np.bincount(blocks[~positive], minlength=count)
    wins = np.einsum("da,da->d", weights @ won, weights)
    possible = positives * negatives
    auc: FloatArray = np.divide(wins, possible, out=np.full(wins.shape, np.nan), where=possible > 0)
    return auc


def _pairs_won(
    positive: NDArray[np.bool_], score: FloatArray, blocks: NDArray[np.int64], count: int
) -> FloatArray:
    """Count the rightly ranked pairs of each block's positives with each block's negatives; a tie is half."""
    ranked, own_blocks = score[positive], blocks[positive]
    won = np.zeros((count, count))
    for block in range(count):
        negatives = np.sort(score[~positive & (blocks == block)])
        if negatives.size:
            below = np.searchsorted(negatives, ranked, side="left")
            up_to = np.searchsorted(negatives, ranked, side="right")
            won[:, block] = np.bincount(own_blocks, weights=(below + up_to) / 2, minlength=count)
    return won
