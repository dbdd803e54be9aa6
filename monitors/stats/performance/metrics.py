"""Performance metrics with 95% intervals, from outcome summaries alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from monitors.stats.mergeable.outcomes import (
    BinaryOutcomeSummary,
    MulticlassOutcomeSummary,
    OutcomeSummary,
    RegressionOutcomeSummary,
)
from monitors.stats.performance.calibration import expected_calibration_error
from monitors.stats.performance.class_averages import class_averages, f1
from monitors.stats.performance.class_curves import curve_averages
from monitors.stats.performance.estimate import Z95, Estimate, around, mean_loss, share
from monitors.stats.performance.ranking_curves import average_precision, roc_auc
from monitors.stats.performance.ranking_queries import measure_queries

_ROUNDING = 8 * float(np.finfo(np.float64).eps)


def measure_outcomes(
    outcome: OutcomeSummary, *, quantile: float | None = None, metric: str = ""
) -> dict[str, Estimate]:
    """Measure every metric that the outcome's task has, by metric name, or one `metric` alone.

    Binary: accuracy, precision, recall, f1, roc_auc, average_precision, log_loss, brier, ece. Multiclass:
    accuracy, precision, recall and f1 as macro averages over the classes that occur, weighted_precision,
    weighted_f1, roc_auc and average_precision as macro averages of each class against the rest, both also
    weighted, log_loss, brier (summed over classes, 0 to 2) and ece of the answered class. Regression: mae,
    rmse, mape, median_absolute_error, r2, bias (prediction minus label), and pinball_loss where the model
    predicts a `quantile` (between 0 and 1); and of a ranking ndcg, ndcg_at_10, mean_average_precision, mrr and
    hit_rate_at_10, whose n counts queries. Precision, recall and f1 without any positive are 0, as in
    scikit-learn. The intervals take rows as independent; `monitors.stats.performance.blocks` does not.
    """
    match outcome:
        case BinaryOutcomeSummary():
            wanted = [metric] if metric else list(_BINARY)
            return {name: _BINARY[name](outcome) for name in wanted if name in _BINARY}
        case MulticlassOutcomeSummary():
            measured = _measure_multiclass(outcome)
        case RegressionOutcomeSummary():
            measured = _measure_regression(outcome, quantile)
    return {name: estimate for name, estimate in measured.items() if metric in ("", name)}


_BINARY: Mapping[str, Callable[[BinaryOutcomeSummary], Estimate]] = {
    "accuracy": lambda outcome: share(outcome.tp + outcome.tn, outcome.n),
    "precision": lambda outcome: _or_zero(share(outcome.tp, outcome.tp + outcome.fp), outcome.n > 0),
    "recall": lambda outcome: _or_zero(share(outcome.tp, outcome.tp + outcome.fn), outcome.n > 0),
    "f1": lambda outcome: _or_zero(f1(outcome.tp, outcome.fp + outcome.fn), outcome.n > 0),
    "roc_auc": lambda outcome: roc_auc(outcome.positives, outcome.negatives),
    "average_precision": lambda outcome: average_precision(outcome.positives, outcome.negatives),
    "log_loss": lambda outcome: mean_loss(outcome.log_loss, least=0.0),
    "brier": lambda outcome: mean_loss(outcome.brier, least=0.0),
    "ece": lambda outcome: expected_calibration_error(outcome.positives, outcome.negatives),
}


def _or_zero(estimate: Estimate, has_rows: bool) -> Estimate:
    return Estimate(0.0, 0) if has_rows and not estimate.n else estimate


def _measure_multiclass(outcome: MulticlassOutcomeSummary) -> dict[str, Estimate]:
    return {
        "accuracy": share(int(np.trace(outcome.confusion)), outcome.n),
        **class_averages(outcome),
        **curve_averages(outcome),
        "log_loss": mean_loss(outcome.log_loss, least=0.0),
        "brier": mean_loss(outcome.brier, least=0.0),
        "ece": expected_calibration_error(outcome.right, outcome.wrong),
    }


def _measure_regression(outcome: RegressionOutcomeSummary, quantile: float | None) -> dict[str, Estimate]:
    squared = mean_loss(outcome.squared_error, least=0.0)
    measured = {
        "mae": mean_loss(outcome.absolute_error, least=0.0),
        "rmse": Estimate(
            _root(squared.value), squared.n, _root(squared.lower), _root(squared.upper), squared.method
        ),
        "mape": _mape(outcome),
        "median_absolute_error": _median_absolute_error(outcome),
        "r2": _r2(outcome),
        "bias": mean_loss(outcome.error),
    }
    if outcome.ranking is not None:
        measured |= measure_queries(outcome.ranking)
    return measured if quantile is None else measured | {"pinball_loss": _pinball_loss(outcome, quantile)}


def _root(value: float | None) -> float | None:
    return None if value is None else float(np.sqrt(value))


def _mape(outcome: RegressionOutcomeSummary) -> Estimate:
    """The mean of |error| / |label|, as a share: 0.1 is ten percent. Zero labels have none and are counted apart."""
    measured = mean_loss(outcome.relative_error, least=0.0)
    detail = {"zero_labels": outcome.zero_labels} if outcome.zero_labels else {}
    return Estimate(measured.value, measured.n, measured.lower, measured.upper, measured.method, detail)


def _median_absolute_error(outcome: RegressionOutcomeSummary) -> Estimate:
    """The median of |error| with bounds that are order statistics, whatever the errors' distribution is."""
    n = outcome.magnitude.n
    if not n:
        return Estimate(None, 0)
    reach = Z95 * 0.5 / np.sqrt(n)
    if reach > 0.5:
        return Estimate(outcome.magnitude.quantile(0.5), n)
    lower, value, upper = outcome.magnitude.quantile([0.5 - reach, 0.5, 0.5 + reach])
    return Estimate(float(value), n, float(lower), float(upper), "order statistics")


def _r2(outcome: RegressionOutcomeSummary) -> Estimate:
    """One minus squared error over the labels' spread, with the delta method's interval.

    A row moves it by (e² - q d²) / spread, where q is that ratio: these sum to zero, so their squares' sum is the
    variance. Summaries that were stored without the moments that this takes give no interval.
    """
    n, spread, shape = outcome.n, outcome.label_spread, outcome.shape
    # By so much the mean of equal labels may differ from them.
    rounding = _ROUNDING * float(outcome.label_mean)
    if n < 2 or not n * rounding * rounding < spread < np.inf or not np.isfinite(outcome.squared_error.total):
        return Estimate(None, n)
    ratio = outcome.squared_error.total / spread
    if shape is None:
        return Estimate(1 - ratio, n)
    with np.errstate(over="ignore", invalid="ignore"):
        squares = (
            outcome.squared_error.total_sq
            - 2 * ratio * shape.square_by_label_sq
            + ratio * ratio * shape.label_fourth
        )
        error = float(np.sqrt(max(squares, 0.0)) / spread)
    return around(1 - ratio, n, error, method="delta", most=1.0)


def _pinball_loss(outcome: RegressionOutcomeSummary, quantile: float) -> Estimate:
    """The mean of q·max(label - prediction, 0) + (1 - q)·max(prediction - label, 0) (Koenker and Bassett, 1978).

    A row's loss is (|e| + (1 - 2q)·e) / 2, so the sums of e and |e| give it for every quantile, and with the sum
    of e·|e| its variance.
    """
    n, tilt = outcome.n, 1 - 2 * quantile
    if not n:
        return Estimate(None, 0)
    mean = (outcome.absolute_error.mean + tilt * outcome.error.mean) / 2
    if n < 2 or outcome.shape is None:
        return around(mean, n, float("nan"), method="normal")
    mean_square = (1 + tilt**2) * outcome.squared_error.total + 2 * tilt * outcome.shape.signed_square
    variance = max(mean_square / (4 * n) - mean * mean, 0.0)
    return around(mean, n, float(np.sqrt(variance / (n - 1))), method="normal", least=0.0)
