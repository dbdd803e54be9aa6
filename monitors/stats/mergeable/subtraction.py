"""Subtracts one summary from another: a corrected label, or erased rows.

Counts are exact, and so is all of a column that keeps its distinct values. Elsewhere a sum loses its digits if most of
it is subtracted, and the next extreme is unknown if an extreme is subtracted. Then `Difference.is_exact` is False, and
the caller rebuilds the summary if it still has the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from monitors.stats.mergeable.class_scores import NO_SCORES, ClassScores
from monitors.stats.mergeable.expression_sums import ExpressionSums
from monitors.stats.mergeable.outcomes import (
    BinaryOutcomeSummary,
    ErrorShape,
    Moments,
    MulticlassOutcomeSummary,
    OutcomeMismatch,
    OutcomeSummary,
    RegressionOutcomeSummary,
)
from monitors.stats.mergeable.sketches import (
    MAX_DISTINCT,
    CategoricalSummary,
    Distinct,
    NumericSummary,
    add_up_cells,
    add_up_distinct,
    summarise_distinct,
)
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary, as_numbers

_MIN_REST = 2.0**-52 / 1e-12  # share of a sum: a smaller rest has a relative error above 1e-12


@dataclass
class _Exactness:
    """Collects whether all steps of a subtraction were exact."""

    holds: bool = True

    def demand(self, *conditions: bool) -> None:
        self.holds = self.holds and all(conditions)

    def less(self, whole: int, part: int) -> int:
        """Subtract counts; a part that is larger than the whole leaves 0 and is not exact."""
        self.demand(whole >= part)
        return max(whole - part, 0)


@dataclass(frozen=True)
class Difference:
    """The rest of a summary, and whether it equals a summary of the remaining rows."""

    rest: WindowSummary
    is_exact: bool


def subtract(whole: WindowSummary, part: WindowSummary) -> Difference:
    """Subtract `part`, which was merged into `whole` before. Columns that `part` lacks do not change."""
    exact = _Exactness()
    features = {
        name: _column(column, part.features.get(name), exact) or column
        for name, column in whole.features.items()
    }
    rest = replace(
        whole,
        rows=exact.less(whole.rows, part.rows),
        labelled=exact.less(whole.labelled, part.labelled),
        features=features,
        prediction=_column(whole.prediction, part.prediction, exact),
        score=_numbers_if_any(whole.score, part.score, exact),
        latency_ms=_numbers_if_any(whole.latency_ms, part.latency_ms, exact),
        label_lag_s=_numbers_if_any(whole.label_lag_s, part.label_lag_s, exact),
        outcome=_outcome(whole.outcome, part.outcome, exact),
        custom={
            key: _expression(sums, part.custom[key], exact) if key in part.custom else sums
            for key, sums in whole.custom.items()
        },
    )
    return Difference(rest, exact.holds)


def subtract_outcomes(whole: OutcomeSummary, part: OutcomeSummary) -> OutcomeSummary | None:
    """Subtract outcomes, exactly or not; None if no row remains."""
    return _outcome(whole, part, _Exactness())


def _column(
    whole: ColumnSummary | None, part: ColumnSummary | None, exact: _Exactness
) -> ColumnSummary | None:
    if whole is None or part is None:
        return whole
    if isinstance(whole, CategoricalSummary):
        if isinstance(part, NumericSummary):
            exact.demand(False)
            return whole
        return _categories(whole, part, exact)
    return _numbers(whole, as_numbers(part, whole.centre), exact)


def _categories(whole: CategoricalSummary, part: CategoricalSummary, exact: _Exactness) -> CategoricalSummary:
    counts, rest = dict(whole.counts), whole.rest - part.rest
    for level, count in part.counts.items():
        if level not in counts:  # it was not frequent enough to be kept by name
            rest -= count
        elif counts[level] > count:
            counts[level] -= count
        else:
            del counts[level]
    exact.demand(whole.rest == 0)
    rest = max(rest, 0)
    return CategoricalSummary(
        counts=counts,
        rest=rest,
        missing=exact.less(whole.missing, part.missing),
        n=sum(counts.values()) + rest,
        wrong_type=exact.less(whole.wrong_type, part.wrong_type),
    )


def _numbers_if_any(
    whole: NumericSummary | None, part: NumericSummary | None, exact: _Exactness
) -> NumericSummary | None:
    return whole if whole is None or part is None else _numbers(whole, part, exact)


def _numbers(whole: NumericSummary, part: NumericSummary, exact: _Exactness) -> NumericSummary:
    whole = replace(
        whole,
        missing=exact.less(whole.missing, part.missing),
        infinite=exact.less(whole.infinite, part.infinite),
        wrong_type=exact.less(whole.wrong_type, part.wrong_type),
    )
    if not part.n:
        return whole
    if (distinct := _distinct(whole, part)) is not None:
        return replace(
            summarise_distinct(distinct, centre=whole.centre),
            missing=whole.missing, infinite=whole.infinite, wrong_type=whole.wrong_type,
        )  # fmt: skip
    keys, counts, sums = add_up_cells(
        np.concatenate([whole.keys, part.keys]),
        np.concatenate([whole.counts, -part.counts]),
        np.concatenate([whole.sums, -part.sums]),
    )
    occupied = counts > 0
    keys, counts, sums = keys[occupied], counts[occupied], sums[occupied]
    n = int(counts.sum())
    exact.demand(n == whole.n - part.n, n == 0 or n > MAX_DISTINCT)  # so few rows would be kept one by one
    rest = replace(
        whole,
        keys=keys,
        counts=counts,
        sums=sums,
        n=n,
        total=whole.total - part.total if n else 0.0,
        total_sq=_difference(whole.total_sq, part.total_sq, n, exact),
        minimum=float("nan"),
        maximum=float("nan"),
        distinct=None,
    )
    if not n:
        return rest
    minimum = _extreme(whole.minimum, part.minimum, float(rest.positions[0]), exact)
    maximum = _extreme(whole.maximum, part.maximum, float(rest.positions[-1]), exact)
    return replace(rest, minimum=minimum, maximum=maximum)


def _distinct(whole: NumericSummary, part: NumericSummary) -> Distinct | None:
    """Subtract value by value; None unless both know theirs and `whole` has those of `part`."""
    if whole.distinct is None or part.distinct is None:
        return None
    rest = add_up_distinct(
        np.concatenate([whole.distinct.values, part.distinct.values]),
        np.concatenate([whole.distinct.counts, -part.distinct.counts]),
    )
    return None if rest is None or (rest.counts < 0).any() else rest


def _extreme(whole: float, part: float, next_cell: float, exact: _Exactness) -> float:
    """Return the remaining extreme: the same one, unless it was subtracted and its cell has other values."""
    if part != whole:
        return whole
    is_same = abs(next_cell - whole) <= 1e-12 * max(abs(whole), 1.0)
    exact.demand(is_same)
    return whole if is_same else next_cell


def _difference(whole: float, part: float, n: int, exact: _Exactness) -> float:
    """Subtract sums of squares."""
    if not n:
        return 0.0
    rest = max(whole - part, 0.0)
    exact.demand(part == 0 or rest >= whole * _MIN_REST)
    return rest


def _moments(whole: Moments, part: Moments, exact: _Exactness) -> Moments:
    n = exact.less(whole.n, part.n)
    return Moments(
        n, whole.total - part.total if n else 0.0, _difference(whole.total_sq, part.total_sq, n, exact)
    )


def _expression(whole: ExpressionSums, part: ExpressionSums, exact: _Exactness) -> ExpressionSums:
    values = _moments(whole.values, part.values, exact)
    divisors = whole.divisors
    if divisors is not None and part.divisors is not None:
        divisors = _moments(divisors, part.divisors, exact)
    if part.n and whole.minimum is not None:  # the next extreme is not known
        exact.demand(part.minimum != whole.minimum, part.maximum != whole.maximum)
    return replace(
        whole,
        rows=exact.less(whole.rows, part.rows),
        left_out=exact.less(whole.left_out, part.left_out),
        values=values,
        divisors=divisors,
        product=whole.product - part.product if values.n else 0.0,
        minimum=whole.minimum if values.n else None,
        maximum=whole.maximum if values.n else None,
        sketch=_numbers_if_any(whole.sketch, part.sketch, exact),
    )


def _outcome(
    whole: OutcomeSummary | None, part: OutcomeSummary | None, exact: _Exactness
) -> OutcomeSummary | None:
    match whole, part:
        case None, _:
            return None
        case _, None:
            return whole
        case BinaryOutcomeSummary(), BinaryOutcomeSummary():
            rest: OutcomeSummary = _binary(whole, part, exact)
        case MulticlassOutcomeSummary(), MulticlassOutcomeSummary():
            rest = _multiclass(whole, part, exact)
        case RegressionOutcomeSummary(), RegressionOutcomeSummary():
            rest = _regression(whole, part, exact)
        case _:
            raise OutcomeMismatch(f"{type(part).__name__} was not added to {type(whole).__name__}.")
    return rest if rest.n else None


def _binary(
    whole: BinaryOutcomeSummary, part: BinaryOutcomeSummary, exact: _Exactness
) -> BinaryOutcomeSummary:
    tp, fp, tn, fn = (
        exact.less(mine, theirs)
        for mine, theirs in zip(
            (whole.tp, whole.fp, whole.tn, whole.fn), (part.tp, part.fp, part.tn, part.fn), strict=True
        )
    )
    return BinaryOutcomeSummary(
        n=tp + fp + tn + fn, tp=tp, fp=fp, tn=tn, fn=fn,
        log_loss=_moments(whole.log_loss, part.log_loss, exact),
        brier=_moments(whole.brier, part.brier, exact),
        positives=_numbers(whole.positives, part.positives, exact),
        negatives=_numbers(whole.negatives, part.negatives, exact),
    )  # fmt: skip


def _multiclass(
    whole: MulticlassOutcomeSummary, part: MulticlassOutcomeSummary, exact: _Exactness
) -> MulticlassOutcomeSummary:
    classes = tuple(dict.fromkeys((*whole.classes, *part.classes)))
    confusion = whole.confusion_of(classes) - part.confusion_of(classes)
    exact.demand(bool((confusion >= 0).all()))
    return MulticlassOutcomeSummary(
        classes,
        np.maximum(confusion, 0),
        exact.less(whole.unknown, part.unknown),
        _moments(whole.log_loss, part.log_loss, exact),
        _moments(whole.brier, part.brier, exact),
        _numbers(whole.right, part.right, exact),
        _numbers(whole.wrong, part.wrong, exact),
        _scores(whole.scores_of(classes), part.scores_of(classes), exact),
    )


def _scores(whole: ClassScores, part: ClassScores, exact: _Exactness) -> ClassScores:
    rest = whole.minus(part)
    is_part = bool((rest.positives >= 0).all() and (rest.negatives >= 0).all())
    # Without most of its rows it might have kept more bits.
    exact.demand(is_part, not whole.dropped_bits or whole.n > 2 * part.n)
    if is_part:
        return rest
    rest = replace(rest, positives=np.maximum(rest.positives, 0), negatives=np.maximum(rest.negatives, 0))
    return rest.minus(NO_SCORES)


def _regression(
    whole: RegressionOutcomeSummary, part: RegressionOutcomeSummary, exact: _Exactness
) -> RegressionOutcomeSummary:
    """Undo a merge; the moments of the labels are those around the mean of the remaining rows."""
    n = exact.less(whole.n, part.n)
    if not n:
        return replace(whole, error=Moments(0, 0.0, 0.0))
    exact.demand(whole.ranking is None)
    mean = (whole.n * whole.label_mean - part.n * part.label_mean) / n
    spread, lost_spread = (one.label_spread + one.n * (one.label_mean - mean) ** 2 for one in (whole, part))
    return RegressionOutcomeSummary(
        error=_moments(whole.error, part.error, exact),
        absolute_error=_moments(whole.absolute_error, part.absolute_error, exact),
        squared_error=_moments(whole.squared_error, part.squared_error, exact),
        label_mean=mean,
        label_spread=_difference(spread, lost_spread, n, exact),
        relative_error=_moments(whole.relative_error, part.relative_error, exact),
        zero_labels=exact.less(whole.zero_labels, part.zero_labels),
        magnitude=_numbers(whole.magnitude, part.magnitude, exact),
        shape=_shape(whole.shape_around(mean), part.shape_around(mean), n, exact),
        ranking=whole.ranking,
    )


def _shape(whole: ErrorShape | None, part: ErrorShape | None, n: int, exact: _Exactness) -> ErrorShape | None:
    if whole is None or part is None:
        return None
    return ErrorShape(
        signed_square=whole.signed_square - part.signed_square,
        label_third=whole.label_third - part.label_third,
        label_fourth=_difference(whole.label_fourth, part.label_fourth, n, exact),
        square_by_label=whole.square_by_label - part.square_by_label,
        square_by_label_sq=_difference(whole.square_by_label_sq, part.square_by_label_sq, n, exact),
    )
