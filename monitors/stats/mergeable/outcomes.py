"""Mergeable summaries of predictions that met their labels: enough for every metric and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitors.stats.mergeable.class_scores import (
    NO_SCORES,
    ClassScores,
    merge_class_scores,
    summarise_class_scores,
)
from monitors.stats.mergeable.sketches import (
    FloatArray,
    IntArray,
    NumericSummary,
    merge_numbers,
    summarise_numbers,
)

# Probabilities are logged as float32, so one that rounded to 0 or 1 is held to be within a float32's eps of
# it.
PROBABILITY_EPS = float(np.finfo(np.float32).eps)


# A label nearer to zero than this (the least normal float32) has no relative error that means anything.
_ZERO_LABEL = float(np.finfo(np.float32).tiny)


class OutcomeMismatch(ValueError):
    """Outcome summaries of different tasks cannot be added up."""


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
        # Written as a product: of a float that is too large, a power raises where a product is infinite.
        variance = max(self.total_sq / self.n - self.mean * self.mean, 0.0)
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

    def merge(self, *others: BinaryOutcomeSummary) -> BinaryOutcomeSummary:
        """Add `others`, as if all rows had been summarised as one."""
        parts = (self, *others)
        return BinaryOutcomeSummary(
            n=sum(part.n for part in parts),
            tp=sum(part.tp for part in parts), fp=sum(part.fp for part in parts),
            tn=sum(part.tn for part in parts), fn=sum(part.fn for part in parts),
            log_loss=reduce(Moments.merge, (part.log_loss for part in parts)),
            brier=reduce(Moments.merge, (part.brier for part in parts)),
            positives=merge_numbers([part.positives for part in parts]),
            negatives=merge_numbers([part.negatives for part in parts]),
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
    clipped = _inside(score[scored])
    scored_truth = truth[scored]
    log_odds = _log_odds(clipped)
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


def _inside(probability: FloatArray) -> FloatArray:
    clipped: FloatArray = np.clip(probability, PROBABILITY_EPS, 1 - PROBABILITY_EPS)
    return clipped


def _log_odds(inside: FloatArray) -> FloatArray:
    odds: FloatArray = np.log(inside) - np.log1p(-inside)
    return odds


NO_LOSSES = Moments(0, 0.0, 0.0)
NO_NUMBERS = summarise_numbers([], centre=0.0)


@dataclass(frozen=True, eq=False, slots=True)
class MulticlassOutcomeSummary:
    """What a multiclass model's labelled predictions came to.

    `confusion[i, j]` counts rows of class i answered as class j; `unknown` counts rows whose label or answer
    is none of `classes`: they are wrong answers. `right` and `wrong` hold the log-odds of the probability that
    the answered class was given, by whether it was the true one; `scores` those of each class, by whether it was
    the true one. Summaries stored before these and `brier` were kept have them empty: their rows count in neither.
    """

    classes: tuple[str, ...]
    confusion: IntArray
    unknown: int
    log_loss: Moments
    brier: Moments = NO_LOSSES
    right: NumericSummary = NO_NUMBERS
    wrong: NumericSummary = NO_NUMBERS
    scores: ClassScores = NO_SCORES

    @property
    def n(self) -> int:
        """The labelled rows, unknown ones included."""
        return int(self.confusion.sum()) + self.unknown

    def merge(self, other: MulticlassOutcomeSummary) -> MulticlassOutcomeSummary:
        """Add `other`, as if all rows had been summarised as one.

        A version with other classes may have answered in the same window: both confusions are then put on the
        classes of either.
        """
        classes = tuple(dict.fromkeys((*self.classes, *other.classes)))
        return MulticlassOutcomeSummary(
            classes, self.confusion_of(classes) + other.confusion_of(classes), self.unknown + other.unknown,
            self.log_loss.merge(other.log_loss), self.brier.merge(other.brier),
            merge_numbers([self.right, other.right]), merge_numbers([self.wrong, other.wrong]),
            merge_class_scores([self.scores_of(classes), other.scores_of(classes)], len(classes)),
        )  # fmt: skip

    def confusion_of(self, classes: tuple[str, ...]) -> IntArray:
        if classes == self.classes:
            return self.confusion
        place = [classes.index(name) for name in self.classes]
        wider = np.zeros((len(classes), len(classes)), dtype=np.int64)
        wider[np.ix_(place, place)] = self.confusion
        return wider

    def scores_of(self, classes: tuple[str, ...]) -> ClassScores:
        """Return the scores by the positions of these classes, which are all of its own and maybe more."""
        if classes == self.classes:
            return self.scores
        return self.scores.on_classes([classes.index(name) for name in self.classes])


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
    table = np.full((truth.size, k), np.nan)
    if probabilities is not None:
        table = np.asarray(probabilities, dtype=np.float64).reshape(-1, k)
    own = table[truth >= 0, truth[truth >= 0]]
    losses = -np.log(np.clip(own[~np.isnan(own)], PROBABILITY_EPS, 1.0))
    whole = (truth >= 0) & ~np.isnan(table).any(axis=1)
    # The sum over classes of (p - [is it the true one])^2, without a table of zeros and ones.
    squares = (table[whole] ** 2).sum(axis=1) - 2 * table[whole, truth[whole]] + 1
    was_right, confidence = _confidence(table, truth, answer)
    return MulticlassOutcomeSummary(
        tuple(classes),
        confusion.astype(np.int64),
        int((~known).sum()),
        log_loss=Moments.of(losses),
        brier=Moments.of(np.maximum(squares, 0.0)),
        right=summarise_numbers(_log_odds(_inside(confidence[was_right])), centre=0.0),
        wrong=summarise_numbers(_log_odds(_inside(confidence[~was_right])), centre=0.0),
        scores=summarise_class_scores(_log_odds(_inside(table[whole])), truth[whole]),
    )


def _confidence(table: FloatArray, truth: IntArray, answer: IntArray) -> tuple[NDArray[np.bool_], FloatArray]:
    """Return the probability of the answered class and whether it was the true one, of rows that have one."""
    rows = np.flatnonzero(answer >= 0)
    given = table[rows, answer[rows]]
    rows, given = rows[~np.isnan(given)], given[~np.isnan(given)]
    return truth[rows] == answer[rows], given


@dataclass(frozen=True, slots=True)
class ErrorShape:
    """Sums that only the intervals of R² and quantile loss need, of errors e and labels' deviations d from their mean.

    `signed_square` sums e·|e|; `label_third` and `label_fourth` sum d³ and d⁴; `square_by_label` and
    `square_by_label_sq` sum e²·d and e²·d².
    """

    signed_square: float
    label_third: float
    label_fourth: float
    square_by_label: float
    square_by_label_sq: float


@dataclass(frozen=True, slots=True)
class RankingSummary:
    """What the queries of a ranking came to, one number each; `left_out` counts those that none can be told of."""

    ndcg: Moments
    ndcg_at_10: Moments
    average_precision: Moments
    reciprocal_rank: Moments
    hit_at_10: Moments
    left_out: int = 0

    def merge(self, other: RankingSummary) -> RankingSummary:
        """Add `other`; a query with rows in both counts as two."""
        return RankingSummary(
            self.ndcg.merge(other.ndcg),
            self.ndcg_at_10.merge(other.ndcg_at_10),
            self.average_precision.merge(other.average_precision),
            self.reciprocal_rank.merge(other.reciprocal_rank),
            self.hit_at_10.merge(other.hit_at_10),
            self.left_out + other.left_out,
        )


@dataclass(frozen=True, slots=True)
class RegressionOutcomeSummary:
    """What a regression model's labelled predictions came to; an error is prediction minus label.

    `label_mean` and `label_spread` (sum of squared deviations from it) stand for the sums of labels and
    squared labels, without their loss of precision when labels lie far from zero. `relative_error` is
    |error| / |label| of the rows whose label is not zero; `zero_labels` counts the others. `magnitude` holds
    |error|. `ranking` is of a model that ranks, whose rows name their query. Summaries stored before the last five
    were kept have them empty.
    """

    error: Moments
    absolute_error: Moments
    squared_error: Moments
    label_mean: float
    label_spread: float
    relative_error: Moments = NO_LOSSES
    zero_labels: int = 0
    magnitude: NumericSummary = NO_NUMBERS
    shape: ErrorShape | None = None
    ranking: RankingSummary | None = None

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
        mean = self.label_mean + gap * other.n / n
        return RegressionOutcomeSummary(
            error=self.error.merge(other.error),
            absolute_error=self.absolute_error.merge(other.absolute_error),
            squared_error=self.squared_error.merge(other.squared_error),
            label_mean=mean,
            label_spread=self.label_spread + other.label_spread + gap * gap * self.n * other.n / n,
            relative_error=self.relative_error.merge(other.relative_error),
            zero_labels=self.zero_labels + other.zero_labels,
            magnitude=merge_numbers([self.magnitude, other.magnitude]),
            shape=_add_shapes(self.shape_around(mean), other.shape_around(mean)),
            ranking=_add_rankings(self.ranking, other.ranking),
        )

    def shape_around(self, mean: float) -> ErrorShape | None:
        """Take the labels' deviations from another mean: (d + g)^k, multiplied out; the first power sums to 0."""
        if self.shape is None:
            return None
        old, g, spread = self.shape, self.label_mean - mean, self.label_spread
        squares = self.squared_error.total
        return ErrorShape(
            signed_square=old.signed_square,
            label_third=old.label_third + 3 * g * spread + self.n * g * g * g,
            label_fourth=old.label_fourth
            + 4 * g * old.label_third
            + 6 * g * g * spread
            + self.n * g * g * g * g,
            square_by_label=old.square_by_label + g * squares,
            square_by_label_sq=old.square_by_label_sq + 2 * g * old.square_by_label + g * g * squares,
        )


def _add_rankings(left: RankingSummary | None, right: RankingSummary | None) -> RankingSummary | None:
    if left is None or right is None:
        return left or right
    return left.merge(right)


def _add_shapes(left: ErrorShape | None, right: ErrorShape | None) -> ErrorShape | None:
    if left is None or right is None:
        return None
    return ErrorShape(
        left.signed_square + right.signed_square,
        left.label_third + right.label_third,
        left.label_fourth + right.label_fourth,
        left.square_by_label + right.square_by_label,
        left.square_by_label_sq + right.square_by_label_sq,
    )


def summarise_regression_outcomes(labels: ArrayLike, predicted: ArrayLike) -> RegressionOutcomeSummary:
    """Summarise labelled predictions of a regression model; rows with a NaN on either side are left out."""
    truth, answer = (
        np.asarray(labels, dtype=np.float64),
        np.asarray(predicted, dtype=np.float64),
    )
    finite = np.isfinite(truth) & np.isfinite(answer)
    # Squares of what is far from everything may be infinite: then so is the metric, which says nothing.
    with np.errstate(over="ignore", invalid="ignore"):
        truth, error = truth[finite], (answer - truth)[finite]
        mean = float(truth.mean()) if truth.size else 0.0
        deviation, magnitude, square = truth - mean, np.abs(error), error**2
        has_size = np.abs(truth) >= _ZERO_LABEL
        return RegressionOutcomeSummary(
            error=Moments.of(error), absolute_error=Moments.of(magnitude), squared_error=Moments.of(square),
            label_mean=mean, label_spread=float((deviation**2).sum()),
            relative_error=Moments.of(magnitude[has_size] / np.abs(truth[has_size])),
            zero_labels=int((~has_size).sum()),
            magnitude=summarise_numbers(magnitude, centre=0.0),
            shape=ErrorShape(
                signed_square=float((error * magnitude).sum()),
                label_third=float((deviation**3).sum()), label_fourth=float((deviation**4).sum()),
                square_by_label=float((square * deviation).sum()),
                square_by_label_sq=float((square * deviation**2).sum()),
            ),
        )  # fmt: skip


OutcomeSummary = BinaryOutcomeSummary | MulticlassOutcomeSummary | RegressionOutcomeSummary


def merge_outcomes(parts: Sequence[OutcomeSummary]) -> OutcomeSummary:
    """Add up outcome summaries of one task; raises `OutcomeMismatch` when the tasks differ."""
    merged = parts[0]
    others = [part for part in parts[1:] if isinstance(part, BinaryOutcomeSummary)]
    if isinstance(merged, BinaryOutcomeSummary) and len(others) == len(parts) - 1:
        return merged.merge(*others)
    for part in parts[1:]:
        match merged, part:
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
