"""Which features a model leans on, and which drifted features explain a problem best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitors.stats.mergeable.outcomes import PROBABILITY_EPS
from monitors.stats.mergeable.sketches import FloatArray

Columns = dict[str, NDArray[np.generic]]
Predict = Callable[[Columns], NDArray[np.floating]]


def permutation_importance(
    predict: Predict,
    data: Mapping[str, NDArray[np.generic]],
    labels: ArrayLike | None = None,
    *,
    rng: np.random.Generator,
    repeats: int = 3,
) -> dict[str, float]:
    """Measure how much the model's answers suffer when one feature's values are shuffled between rows.

    `predict` takes columns and returns scores: one number a row, or one probability a class. With `labels`
    (0 or 1 for scores between 0 and 1, positions of classes for a table of probabilities, numbers for a
    regression) the importance is the rise of the mean loss: log loss for classes, absolute error for
    numbers; it can be slightly negative. Without labels it is the mean absolute change of the score.
    """
    columns = dict(data)
    usual = np.asarray(predict(columns), dtype=np.float64)
    truth = None if labels is None else np.asarray(labels, dtype=np.float64)
    loss = _loss_of(usual, truth)
    importance = {}
    for name, values in columns.items():
        harm = [
            loss(np.asarray(predict({**columns, name: rng.permutation(values)}), dtype=np.float64))
            for _ in range(repeats)
        ]
        importance[name] = float(np.mean(harm)) if usual.size else 0.0
    return importance


def _loss_of(usual: FloatArray, truth: FloatArray | None) -> Callable[[FloatArray], float]:
    """Choose how the harm of a shuffle is measured."""
    if truth is None:
        return lambda score: float(np.abs(score - usual).mean())
    if usual.ndim == 2:
        rows, classes = np.arange(truth.size), truth.astype(np.int64)
        before = _log_loss(usual[rows, classes])
        return lambda score: _log_loss(score[rows, classes]) - before
    if np.isin(truth, (0.0, 1.0)).all() and ((usual >= 0) & (usual <= 1)).all():
        before = _log_loss(np.where(truth > 0, usual, 1 - usual))
        return lambda score: _log_loss(np.where(truth > 0, score, 1 - score)) - before
    before = float(np.abs(usual - truth).mean())
    return lambda score: float(np.abs(score - truth).mean()) - before


def _log_loss(own: FloatArray) -> float:
    return float(-np.log(np.clip(own, PROBABILITY_EPS, 1.0)).mean())


@dataclass(frozen=True, slots=True)
class Cause:
    """A drifted feature's part in the blame: shares of all causes add up to 1.

    `excess` is how far its drift lies above its threshold, in thresholds.
    """

    feature: str
    share: float
    drift: float
    threshold: float
    excess: float
    importance: float


def rank_causes(
    drift: Mapping[str, float], threshold: Mapping[str, float], importance: Mapping[str, float]
) -> list[Cause]:
    """Rank features by excess drift times importance, the heaviest first; features within their threshold are left out.

    When importance is unknown or nought for all drifted features, excess drift alone decides.

    >>> [(c.feature, round(c.share, 2)) for c in rank_causes(
    ...     {"wind": 0.5, "hour": 0.3, "dest": 0.05}, {"wind": 0.1, "hour": 0.1, "dest": 0.1},
    ...     {"wind": 0.02, "hour": 0.01, "dest": 0.9})]
    [('wind', 0.8), ('hour', 0.2)]
    """
    excess = {
        name: (value - threshold[name]) / threshold[name]
        for name, value in drift.items()
        if threshold.get(name, 0.0) > 0 and value > threshold[name]
    }
    weights = {name: excess[name] * max(importance.get(name, 0.0), 0.0) for name in excess}
    if not any(weights.values()):
        weights = excess
    total = sum(weights.values())
    causes = [
        Cause(
            name, weights[name] / total, drift[name], threshold[name], excess[name], importance.get(name, 0.0)
        )
        for name in excess
    ]
    return sorted(causes, key=lambda cause: (-cause.share, cause.feature))
