"""Metrics of many classes: each class, and averages over classes of precision, recall and F1 with intervals.

The variance of an average is by the delta method on the confusion matrix, whose cells are one multinomial
(Takahashi, Yamamoto, Kuchiba and Koyama, "Confidence interval for micro-averaged F1 and macro-averaged F1
scores", Applied Intelligence 52, 2022). These averages do not change when all counts are doubled, so the mean of
a row's influence is 0 and the variance is the sum of count times squared gradient. Micro averages of one answer
a row all equal accuracy, so there is no metric of that name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitors.stats.mergeable.outcomes import MulticlassOutcomeSummary
from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.performance.class_curves import class_curves
from monitors.stats.performance.estimate import Estimate, around, share


def class_averages(outcome: MulticlassOutcomeSummary) -> dict[str, Estimate]:
    """Average precision, recall and F1 over the classes that occur, equally (macro) and by their rows (weighted).

    As in scikit-learn the precision of a class that was never answered is 0, and so is the recall of one that
    never was. The weighted recall is the accuracy, and no metric.
    """
    confusion = outcome.confusion.astype(np.float64)
    right, answered, actual = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    occurring, n = answered + actual > 0, confusion.sum()
    if not n:
        names = ("precision", "weighted_precision", "recall", "f1", "weighted_f1")
        return dict.fromkeys(names, Estimate(None, outcome.n))
    even, by_rows = occurring / occurring.sum(), actual / n
    found = {}
    for name, times, along_answered, along_actual in (
        ("precision", 1, answered, None),
        ("recall", 1, None, actual),
        ("f1", 2, answered, actual),
    ):
        metric = _ShareMetric(times * right, along_answered, along_actual, times)
        found[name] = _average(confusion, metric, even, outcome.n)
        if name != "recall":
            found[f"weighted_{name}"] = _average(confusion, metric, by_rows, outcome.n, weights_are_rows=True)
    return found


@dataclass(frozen=True, slots=True)
class _ShareMetric:
    """A share of each class: `hits`, which are `times` its right answers, of rows answered so, truly so, or both."""

    hits: FloatArray
    answered: FloatArray | None
    actual: FloatArray | None
    times: int

    @property
    def of(self) -> FloatArray:
        total = sum(part for part in (self.answered, self.actual) if part is not None)
        least: FloatArray = np.maximum(total, 1.0)
        return least

    def gradient(self, weights: FloatArray) -> FloatArray:
        """How one row more of each true and answered class (rows, columns) moves the weighted sum of the shares."""
        own, spread = weights * self.times / self.of, weights * self.hits / self.of**2
        slope = np.diag(own)
        if self.answered is not None:
            slope = slope - spread[np.newaxis, :]
        if self.actual is not None:
            slope = slope - spread[:, np.newaxis]
        return slope


def _average(
    confusion: FloatArray,
    metric: _ShareMetric,
    weights: FloatArray,
    n: int,
    *,
    weights_are_rows: bool = False,
) -> Estimate:
    by_class = metric.hits / metric.of
    value, slope = float(weights @ by_class), metric.gradient(weights)
    if weights_are_rows:  # one row more of a class also gives it more weight
        slope = slope + ((by_class - value) / confusion.sum())[:, np.newaxis]
    error = float(np.sqrt((confusion * slope**2).sum()))
    return around(value, n, error, method="delta", least=0.0, most=1.0)


def classes_apart(outcome: MulticlassOutcomeSummary) -> dict[str, dict[str, Estimate]]:
    """Measure each class that occurs, by class: its precision, recall and F1, and how its probability ranks rows.

    A share of no rows, as the precision of a class that was never answered, is undefined.
    """
    curves = class_curves(outcome)
    right = np.diag(outcome.confusion)
    answered, actual = outcome.confusion.sum(axis=0), outcome.confusion.sum(axis=1)
    return {
        name: {
            "class_precision": share(int(right[i]), int(answered[i])),
            "class_recall": share(int(right[i]), int(actual[i])),
            "class_f1": f1(int(right[i]), int(answered[i] + actual[i] - 2 * right[i])),
            "class_roc_auc": curves.roc_auc[i],
            "class_average_precision": curves.average_precision[i],
        }
        for i, name in enumerate(outcome.classes)
        if answered[i] + actual[i]
    }


def f1(tp: int, wrong: int) -> Estimate:
    """F1 grows with the share tp / (tp + fp + fn): bound that share and convert; `wrong` is fp + fn."""
    involved = share(tp, tp + wrong)
    value, lower, upper = (
        None if part is None else 2 * part / (1 + part)
        for part in (involved.value, involved.lower, involved.upper)
    )
    return Estimate(value, involved.n, lower, upper, involved.method)
