"""Mergeable summaries of predictions that met their labels: enough for every metric and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitors.stats.sketches import (
    FloatArray,
    IntArray,
    NumericSummary,
    merge_numbers,
    summarise_numbers,
)

# Probabilities are logged as float32, so one that rounded to 0 or 1 is held to be within a float32's eps of
# it.
PROBABILITY_EPS = float(np.finfo(np.float32).eps)


class OutcomeMismatch(ValueError):
    """Outcome summaries of different tasks or classes cannot be added up."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Count, sum and sum of squares of a per-row loss: its mean and the mean's standard error."""

    n: int
    total: float
    total_sq: float

    @classmethod
    def of(cls, losses: FloatArray) -> Moments:
        return cls(n=losses.size, total=float(losses.sum()), total_sq=float(losses @ losses))

    def merge(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.total + other.total, self.total_sq + other.total_sq)

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else float("nan")

    @property
    def standard_error(self) -> float:
        """The standard error of the mean (ddof 1); NaN below two rows."""
        if self.n < 2:
            return float("nan")
        variance = max(self.total_sq / self.n - self.mean**2, 0.0)
        return float(np.sqrt(variance / (self.n - 1)))


@dataclass(frozen=True, eq=False, slots=True)
class BinaryOutcomeSummary:
    """What a binary model's labelled predictions came to.

    `positives` and `negatives` hold the log-odds of the predicted probability by true class, on the float
    grid: log-odds keep the order of scores near 0 and 1 apart, which is what ROC AUC needs.
    """

    n: int
    tp: int
    fp: int
    tn: int
    fn: int
    log_loss: Moments
    brier: Moments
    positives: NumericSummary
    negatives: NumericSummary

    def merge(self, other: BinaryOutcomeSummary) -> BinaryOutcomeSummary:
        """Add `other`, as if all rows had been summarised as one."""
        return BinaryOutcomeSummary(
            n=self.n + other.n,
            tp=self.tp + other.tp, fp=self.fp + other.fp, tn=self.tn + other.tn, fn=self.fn + other.fn,
            log_loss=self.log_loss.merge(other.log_loss), brier=self.brier.merge(other.brier),
            positives=merge_numbers([self.positives, other.positives]),
            negatives=merge_numbers([self.negatives, other.negatives]),
        )  # fmt: skip


def summarise_binary_outcomes(
    labels: ArrayLike, predicted: ArrayLike, probability: ArrayLike | None
) -> BinaryOutcomeSummary:
    """Summarise labelled predictions of a binary model.

    `labels` and `predicted` are true where the class is the positive one; `probability` is that of the
    positive class, or None for a model that gives none. A row whose probability is NaN counts only by its
    class.
    """
    truth, answer = np.asarray(labels, dtype=bool), np.asarray(predicted, dtype=bool)
    score = np.full(truth.shape, np.nan) if probability is None else np.asarray(probability, dtype=np.float64)
    scored = ~np.isnan(score)
    clipped = np.clip(score[scored], PROBABILITY_EPS, 1 - PROBABILITY_EPS)
    scored_truth = truth[scored]
    log_odds = np.log(clipped) - np.log1p(-clipped)
    tp, predicted_positive, positive = (
        int((truth & answer).sum()),
        int(answer.sum()),
        int(truth.sum()),
    )
    return BinaryOutcomeSummary(
        n=truth.size, tp=tp, fp=predicted_positive - tp, fn=positive - tp,
        tn=truth.size - predicted_positive - positive + tp,
        log_loss=Moments.of(-np.log(np.where(scored_truth, clipped, 1 - clipped))),
        brier=Moments.of((score[scored] - scored_truth) ** 2),
        positives=summarise_numbers(log_odds[scored_truth], centre=0.0),
        negatives=summarise_numbers(log_odds[~scored_truth], centre=0.0),
    )  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class MulticlassOutcomeSummary:
    """What a multiclass model's labelled predictions came to.

    `confusion[i, j]` counts rows of class i answered as class j; `unknown` counts rows whose label or answer
    is none of `classes`: they are wrong answers.
    """

    classes: tuple[str, ...]
    confusion: IntArray
    unknown: int
    log_loss: Moments

    @property
    def n(self) -> int:
        """The labelled rows, unknown ones included."""
        return int(self.confusion.sum()) + self.unknown

    def merge(self, other: MulticlassOutcomeSummary) -> MulticlassOutcomeSummary:
        """Add `other`, as if all rows had been summarised as one; raises `OutcomeMismatch`."""
        if self.classes != other.classes:
            raise OutcomeMismatch(
                f"The classes {list(self.classes)} and {list(other.classes)} differ; summarise both with the "
                "classes of one version."
            )
        return MulticlassOutcomeSummary(
            self.classes, self.confusion + other.confusion, self.unknown + other.unknown,
            self.log_loss.merge(other.log_loss),
        )  # fmt: skip


def summarise_multiclass_outcomes(
    classes: Sequence[str],
    labels: Sequence[Any] | NDArray[Any],
    predicted: Sequence[Any] | NDArray[Any],
    probabilities: ArrayLike | None,
) -> MulticlassOutcomeSummary:
    """Summarise labelled predictions of a multiclass model; labels equal classes by their text.

    `probabilities` has one row per prediction and one column per class, or is None.
    """
    index = {name: position for position, name in enumerate(classes)}
    truth = np.array([index.get(str(label), -1) for label in labels], dtype=np.int64)
    answer = np.array([index.get(str(label), -1) for label in predicted], dtype=np.int64)
    known = (truth >= 0) & (answer >= 0)
    k = len(index)
    confusion = np.bincount(truth[known] * k + answer[known], minlength=k * k).reshape(k, k)
    losses = np.empty(0)
    if probabilities is not None:
        table = np.asarray(probabilities, dtype=np.float64).reshape(-1, k)[truth >= 0]
        own = table[np.arange(len(table)), truth[truth >= 0]]
        losses = -np.log(np.clip(own[~np.isnan(own)], PROBABILITY_EPS, 1.0))
    return MulticlassOutcomeSummary(
        tuple(classes),
        confusion.astype(np.int64),
        int((~known).sum()),
        Moments.of(losses),
    )


@dataclass(frozen=True, slots=True)
class RegressionOutcomeSummary:
    """What a regression model's labelled predictions came to; an error is prediction minus label.

    `label_mean` and `label_spread` (sum of squared deviations from it) stand for the sums of labels and
    squared labels, without their loss of precision when labels lie far from zero.
    """

    error: Moments
    absolute_error: Moments
    squared_error: Moments
    label_mean: float
    label_spread: float

    @property
    def n(self) -> int:
        return self.error.n

    def merge(self, other: RegressionOutcomeSummary) -> RegressionOutcomeSummary:
        """Add `other`, as if all rows had been summarised as one (label moments by Chan et al., 1979)."""
        if not other.n:
            return self
        if not self.n:
            return other
        gap, n = other.label_mean - self.label_mean, self.n + other.n
        return RegressionOutcomeSummary(
            error=self.error.merge(other.error),
            absolute_error=self.absolute_error.merge(other.absolute_error),
            squared_error=self.squared_error.merge(other.squared_error),
            label_mean=self.label_mean + gap * other.n / n,
            label_spread=self.label_spread + other.label_spread + gap**2 * self.n * other.n / n,
        )


def summarise_regression_outcomes(labels: ArrayLike, predicted: ArrayLike) -> RegressionOutcomeSummary:
    """Summarise labelled predictions of a regression model; rows with a NaN on either side are left out."""
    truth, answer = (
        np.asarray(labels, dtype=np.float64),
        np.asarray(predicted, dtype=np.float64),
    )
    finite = np.isfinite(truth) & np.isfinite(answer)
    truth, error = truth[finite], (answer - truth)[finite]
    mean = float(truth.mean()) if truth.size else 0.0
    return RegressionOutcomeSummary(
        error=Moments.of(error), absolute_error=Moments.of(np.abs(error)), squared_error=Moments.of(error**2),
        label_mean=mean, label_spread=float(((truth - mean) ** 2).sum()),
    )  # fmt: skip


OutcomeSummary = BinaryOutcomeSummary | MulticlassOutcomeSummary | RegressionOutcomeSummary


def merge_outcomes(parts: Sequence[OutcomeSummary]) -> OutcomeSummary:
    """Add up outcome summaries of one task; raises `OutcomeMismatch` when the tasks or classes differ."""
    merged = parts[0]
    for part in parts[1:]:
        match merged, part:
            case BinaryOutcomeSummary(), BinaryOutcomeSummary():
                merged = merged.merge(part)
            case MulticlassOutcomeSummary(), MulticlassOutcomeSummary():
                merged = merged.merge(part)
            case RegressionOutcomeSummary(), RegressionOutcomeSummary():
                merged = merged.merge(part)
            case _:
                raise OutcomeMismatch(
                    f"{type(merged).__name__} and {type(part).__name__} are outcomes of different tasks; "
                    "merge windows of one model only."
                )
    return merged
