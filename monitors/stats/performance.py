"""Performance metrics with 95% intervals, from outcome summaries alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitors.stats.outcomes import (
    BinaryOutcomeSummary,
    Moments,
    MulticlassOutcomeSummary,
    OutcomeSummary,
    RegressionOutcomeSummary,
)
from monitors.stats.sketches import FloatArray, NumericSummary

Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric on `n` rows (those that it is a share or mean of) with its 95% interval and the interval's method.

    `value` is None where the metric is undefined, as ROC AUC is without both classes; the bounds are None
    where no interval is known.
    """

    value: float | None
    n: int
    lower: float | None = None
    upper: float | None = None
    method: str = ""


def measure_outcomes(outcome: OutcomeSummary) -> dict[str, Estimate]:
    """Measure every metric that the outcome's task has, by metric name.

    Binary: accuracy, precision, recall, f1, roc_auc, log_loss, brier. Multiclass: accuracy, log_loss and
    macro averages of precision, recall, f1 over the classes that occur. Regression: mae, rmse, r2, bias
    (prediction minus label). Precision, recall and f1 without any positive are 0, as in scikit-learn.
    """
    match outcome:
        case BinaryOutcomeSummary():
            return _measure_binary(outcome)
        case MulticlassOutcomeSummary():
            return _measure_multiclass(outcome)
        case RegressionOutcomeSummary():
            return _measure_regression(outcome)


def _measure_binary(outcome: BinaryOutcomeSummary) -> dict[str, Estimate]:
    tp, fp, fn = outcome.tp, outcome.fp, outcome.fn
    return {
        "accuracy": _share(tp + outcome.tn, outcome.n),
        "precision": _share_or_zero(tp, tp + fp, outcome.n),
        "recall": _share_or_zero(tp, tp + fn, outcome.n),
        "f1": _f1(tp, fp + fn, outcome.n),
        "roc_auc": roc_auc(outcome.positives, outcome.negatives),
        "log_loss": _mean(outcome.log_loss, least=0.0),
        "brier": _mean(outcome.brier, least=0.0),
    }


def _measure_multiclass(outcome: MulticlassOutcomeSummary) -> dict[str, Estimate]:
    right = np.diag(outcome.confusion).astype(np.float64)
    answered, actual = outcome.confusion.sum(axis=0), outcome.confusion.sum(axis=1)
    occurring = answered + actual > 0
    macro = {
        "precision": right / np.maximum(answered, 1),
        "recall": right / np.maximum(actual, 1),
        "f1": 2 * right / np.maximum(answered + actual, 1),
    }
    return {
        "accuracy": _share(int(right.sum()), outcome.n),
        **{
            name: Estimate(float(by_class[occurring].mean()) if occurring.any() else None, outcome.n)
            for name, by_class in macro.items()
        },
        "log_loss": _mean(outcome.log_loss, least=0.0),
    }


def _measure_regression(outcome: RegressionOutcomeSummary) -> dict[str, Estimate]:
    squared = _mean(outcome.squared_error, least=0.0)
    fitted = outcome.n > 1 and outcome.label_spread > 0
    r2 = 1 - outcome.squared_error.total / outcome.label_spread if fitted else None
    return {
        "mae": _mean(outcome.absolute_error, least=0.0),
        "rmse": Estimate(
            _root(squared.value), squared.n, _root(squared.lower), _root(squared.upper), squared.method
        ),
        "r2": Estimate(r2, outcome.n),
        "bias": _mean(outcome.error),
    }


def _root(value: float | None) -> float | None:
    return None if value is None else float(np.sqrt(value))


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """Bound a share at 95% by Wilson's score interval, which stays inside 0 to 1 and is sound for few rows."""
    share, z2 = successes / n, Z95**2
    middle = share + z2 / (2 * n)
    half = Z95 * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(float((middle - half) / (1 + z2 / n)), 0.0), min(float((middle + half) / (1 + z2 / n)), 1.0)


def _share(successes: int, n: int) -> Estimate:
    if not n:
        return Estimate(None, 0)
    return Estimate(successes / n, n, *wilson_interval(successes, n), "wilson")


def _share_or_zero(successes: int, of: int, rows: int) -> Estimate:
    return Estimate(0.0, 0) if rows and not of else _share(successes, of)


def _f1(tp: int, wrong: int, rows: int) -> Estimate:
    """F1 grows with the share tp / (tp + fp + fn): bound that share and convert."""
    involved = _share_or_zero(tp, tp + wrong, rows)
    value, lower, upper = (
        None if share is None else 2 * share / (1 + share)
        for share in (involved.value, involved.lower, involved.upper)
    )
    return Estimate(value, involved.n, lower, upper, involved.method)


def _mean(losses: Moments, *, least: float = -np.inf) -> Estimate:
    if not losses.n:
        return Estimate(None, 0)
    if losses.n < 2:
        return Estimate(losses.mean, losses.n)
    half = Z95 * losses.standard_error
    return Estimate(losses.mean, losses.n, max(losses.mean - half, least), losses.mean + half, "normal")


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
