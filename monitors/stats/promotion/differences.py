"""Metrics of two versions, and bounds of their difference.

Requests of one day resemble each other, so what a difference owes to chance is read from whole blocks (event days);
where there are fewer than five of these, from stretches of rows. Each block has an influence on every metric: how much
the metric would change without it, to first order (of ROC AUC the structural components of DeLong et al., 1988).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.outcomes import PROBABILITY_EPS
from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.promotion.standard_errors import StandardError

HIGHER_IS_BETTER = {
    "roc_auc": True, "accuracy": True, "log_loss": False, "brier": False, "mae": False, "rmse": False,
}  # fmt: skip
METRICS = {
    "binary": ("roc_auc", "log_loss", "accuracy", "brier"),
    "multiclass": ("log_loss", "accuracy", "brier"),
    "regression": ("mae", "rmse"),
}

MIN_BLOCKS = 5
STRETCHES = 40


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


@dataclass(frozen=True, eq=False, slots=True)
class MetricByBlocks:
    """A metric of one version, and its influences (blocks,) in the metric's unit; `of_rows` are those of the rows."""

    value: float
    influences: FloatArray
    of_rows: FloatArray | None = None


def difference_of(
    name: str,
    champion: MetricByBlocks,
    challenger: MetricByBlocks,
    error: StandardError,
    tail: float,
    *,
    higher_is_better: bool | None = None,
) -> MetricDifference:
    """Bound the difference so that either bound is wrong with the chance `tail`.

    The direction is that of the named metric, unless it is given.
    """
    if higher_is_better is None:
        higher_is_better = HIGHER_IS_BETTER[name]
    difference = challenger.value - champion.value
    reach = error.reach(tail)
    return MetricDifference(
        name, higher_is_better, champion.value, challenger.value, difference,
        difference - reach, difference + reach,
    )  # fmt: skip


def has_days(days: NDArray[np.int64]) -> bool:
    """Return whether these are days enough to be the blocks."""
    return np.unique(days).size >= MIN_BLOCKS


def blocks_of(days: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Number the days of rows from 0; below five days cut the rows, in their order, into stretches instead."""
    found, numbered = np.unique(days, return_inverse=True)
    if found.size >= MIN_BLOCKS:
        return numbered, found.size
    count = min(days.size, STRETCHES)
    return np.arange(days.size) * count // max(days.size, 1), count


def metric_by_blocks(
    name: str, y: FloatArray, score: FloatArray, answer: FloatArray, blocks: NDArray[np.int64], count: int
) -> MetricByBlocks:
    """Measure a metric of labelled rows in numbered blocks; NaN where it needs two classes and there is one."""
    if name == "roc_auc":
        return _auc(y > 0.5, score, blocks, count)
    losses = _LOSSES[name](y, score, answer)
    mean = float(losses.mean())
    root = float(np.sqrt(mean))
    unit = 2 * root if name == "rmse" and root else 1.0
    of_rows = (losses - mean) / (losses.size * unit)
    return MetricByBlocks(
        root if name == "rmse" else mean, np.bincount(blocks, weights=of_rows, minlength=count), of_rows
    )


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
    positive: NDArray[np.bool_], score: FloatArray, blocks: NDArray[np.int64], count: int
) -> MetricByBlocks:
    """A row's part is the share of the other class that it is rightly ranked against; a tie is half."""
    won = np.empty(score.size)
    won[positive] = _share_below(score[positive], score[~positive])
    won[~positive] = 1 - _share_below(score[~positive], score[positive])
    auc = float(won[positive].mean()) if positive.any() and not positive.all() else float("nan")
    of_rows = (won - auc) / np.where(positive, positive.sum(), (~positive).sum())
    return MetricByBlocks(auc, np.bincount(blocks, weights=of_rows, minlength=count), of_rows)


def _share_below(ranked: FloatArray, others: FloatArray) -> FloatArray:
    if not others.size:
        return np.full(ranked.size, np.nan)
    others = np.sort(others)
    below, up_to = (np.searchsorted(others, ranked, side) for side in ("left", "right"))
    share: FloatArray = (below + up_to) / (2 * others.size)
    return share
