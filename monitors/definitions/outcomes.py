"""What labelled rows came to, in the terms of their model's task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.signatures import Signature
from monitors.stats.mergeable.outcomes import (
    PROBABILITY_EPS,
    OutcomeSummary,
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.performance.estimate import Estimate
from monitors.stats.performance.metrics import measure_outcomes
from monitors.stats.performance.ranking_queries import summarise_queries

MAX_SEEN_CLASSES = 100


def outcome_of(
    signature: Signature,
    label: np.ndarray,
    prediction: np.ndarray,
    score: np.ndarray | None,
    queries: np.ndarray | None = None,
) -> OutcomeSummary | None:
    """Summarise the rows whose label is known (not None, not NaN); None when there are none.

    `score` is p of the positive class, or rows x classes; `queries` numbers the query that a ranked row answers.
    """
    labels = np.asarray(label, object)
    known = np.array([value is not None and value == value for value in labels], bool)
    if not known.any():
        return None
    labels, prediction = labels[known], prediction[known]
    score = None if score is None else score[known]
    if signature.task == "binary":
        positive = signature.positive_class
        return summarise_binary_outcomes(labels == positive, prediction == positive, score)
    if signature.task == "multiclass":
        classes = signature.classes or _classes_seen(labels, prediction)
        return summarise_multiclass_outcomes(classes, labels, prediction, score)
    relevance, prediction = labels.astype(np.float64), prediction.astype(np.float64)
    outcome = summarise_regression_outcomes(relevance, prediction)
    if queries is None:
        return outcome
    return replace(outcome, ranking=summarise_queries(queries[known], prediction, relevance))


def usual_performance(
    outcomes: Iterable[OutcomeSummary | None], quantile: float | None
) -> dict[str, dict[str, float]]:
    """Summarise each metric over the days of a reference; days without labels say nothing.

    `low` and `high` are the 5 % and 95 % quantiles of days; of a single day they are the ends of its own interval.
    """
    days: dict[str, list[Estimate]] = {}
    for outcome in outcomes:
        for metric, estimate in (measure_outcomes(outcome, quantile=quantile) if outcome else {}).items():
            if estimate.value is not None and np.isfinite(estimate.value):
                days.setdefault(metric, []).append(estimate)
    return {metric: _usual(estimates) for metric, estimates in days.items()}


def _usual(days: Sequence[Estimate]) -> dict[str, float]:
    values = [estimate.value for estimate in days if estimate.value is not None]
    low, high = (float(np.quantile(values, q)) for q in (0.05, 0.95))
    if len(days) == 1 and days[0].lower is not None and days[0].upper is not None:
        low, high = days[0].lower, days[0].upper
    return {"mean": float(np.mean(values)), "low": low, "high": high, "days": len(days)}


def coded(values: NDArray[Any], signature: Signature) -> NDArray[np.float64]:
    """Write labels or answers as the comparison wants them: 0 or 1, the class's position, or the number.

    NaN stands for a label that has not come, or that names no class of the model.
    """
    if signature.task == "regression":
        return np.array([np.nan if value is None else float(value) for value in values])
    if signature.task == "binary":
        codes: Mapping[str, int] = {name: int(name == signature.positive_class) for name in signature.classes}
    else:
        codes = {name: position for position, name in enumerate(signature.classes)}
    return np.array([codes.get(value, np.nan) for value in values], np.float64)


def row_losses(
    signature: Signature,
    loss: str,
    label: NDArray[Any],
    prediction: NDArray[Any],
    probability: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return what each row loses: `log_loss`, `brier` or `wrong_share` of a class, `mae` or `mse` of a number.

    NaN where it is not known: no label has come, or no probability is there to judge.
    """
    if signature.task == "regression":
        off = coded(label, signature) - coded(prediction, signature)
        return np.abs(off) if loss == "mae" else off**2
    is_known = np.array([value is not None and value == value for value in label], bool)
    if loss == "wrong_share":
        return np.where(is_known, label != prediction, np.nan)
    truth = coded(label, signature)
    if probability is None:
        return np.full(truth.shape, np.nan)
    if probability.ndim == 1:
        own = np.where(truth > 0, probability, 1 - probability)
        squares = (1 - own) ** 2
    else:
        truth = np.where(truth < probability.shape[1], truth, np.nan)
        own = probability[np.arange(truth.size), np.nan_to_num(truth).astype(np.int64)]
        squares = (probability**2).sum(axis=1) - 2 * own + 1
    losses = -np.log(np.clip(own, PROBABILITY_EPS, 1.0)) if loss == "log_loss" else squares
    return np.where(np.isnan(truth), np.nan, losses)


def answer_score(
    signature: Signature, prediction: np.ndarray, probability: np.ndarray | None
) -> np.ndarray | None:
    """Return the one probability of each row that is watched: the positive class's, or of several the answered class's.

    A row answered with an unknown class has NaN; a regression has none.
    """
    if probability is None or signature.task == "regression":
        return None
    if probability.ndim == 1:
        return probability
    place = {name: position for position, name in enumerate(signature.classes[: probability.shape[1]])}
    column = np.array([place.get(str(value), -1) for value in prediction], dtype=np.int64)
    return np.where(column >= 0, probability[np.arange(column.size), column], np.nan)


def _classes_seen(labels: np.ndarray, prediction: np.ndarray) -> list[str]:
    """List the classes of an external version that nobody has told; beyond a hundred it is no list of classes."""
    seen = sorted({str(value) for value in (*labels, *prediction)})
    return seen if len(seen) <= MAX_SEEN_CLASSES else []
