"""Computes metrics for each row of some columns, all of them at once, and adds up the values of any of the rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.stats.expressions.tree import (
    FUNCTIONS,
    Aggregate,
    AggregateFunction,
    ColumnName,
    Constant,
    Expression,
    Floats,
    Operation,
)
from monitors.stats.mergeable.expression_sums import ExpressionSums
from monitors.stats.mergeable.outcomes import Moments
from monitors.stats.mergeable.sketches import summarise_numbers

type ColumnReader = Callable[[ColumnName, Vocabulary], Floats]
"""Reads a column as one float64 a row, NaN where it is missing; texts by the numbers of the vocabulary."""

NOT_CHOSEN = np.inf
"""Stands for the value of a row for which the condition does not hold; NaN for one that is left out."""


class Vocabulary:
    """Numbers texts in the order in which they come, so that texts are compared as numbers."""

    def __init__(self) -> None:
        self._numbers: dict[object, float] = {}

    def number(self, text: object) -> float:
        """Return the number of a text; NaN of anything else, which is missing as a text."""
        if not isinstance(text, str):
            return np.nan
        return self._numbers.setdefault(text, float(len(self._numbers)))

    def numbers(self, texts: NDArray[np.generic]) -> Floats:
        """Number an array of texts."""
        values = texts.tolist()
        numbers = {value: self.number(value) for value in dict.fromkeys(values)}
        return np.fromiter(map(numbers.__getitem__, values), np.float64, len(values))


@dataclass(frozen=True, eq=False, slots=True)
class MetricValues:
    """What metrics come to row by row: a row of each matrix a metric, a column a logged row.

    `values` are finite where the row counts, NaN where it is left out because an operand is missing, and NOT_CHOSEN
    elsewhere. `divisors` are those of ratios alone, by the key of the metric, and `of_labels` holds the keys of metrics
    of labelled rows.
    """

    metrics: Mapping[str, Aggregate]
    of_labels: Collection[str]
    values: Floats
    divisors: Mapping[str, Floats]

    def take(self, where: NDArray[np.generic] | slice) -> MetricValues:
        """Keep the rows that `where` picks."""
        divisors = {key: values[where] for key, values in self.divisors.items()}
        return MetricValues(self.metrics, self.of_labels, self.values[:, where], divisors)

    def sums(self, rows: int, labelled: int) -> dict[str, ExpressionSums]:
        """Add up all rows; `rows` were looked at, and by metrics of labels `labelled`."""
        counted = np.isfinite(self.values)
        left_out = np.isnan(self.values).sum(axis=1)
        numbers = np.where(counted, self.values, 0.0)
        ns = counted.sum(axis=1)
        with np.errstate(over="ignore"):
            totals, squares = numbers.sum(axis=1), np.einsum("ij,ij->i", numbers, numbers)
        found = {}
        for place, (key, metric) in enumerate(self.metrics.items()):
            found[key] = ExpressionSums(
                rows=labelled if key in self.of_labels else rows,
                left_out=int(left_out[place]),
                values=Moments(int(ns[place]), float(totals[place]), float(squares[place])),
                **self._others(key, metric, self.values[place], counted[place]),
            )
        return found

    def _others(
        self, key: str, metric: Aggregate, values: Floats, counted: NDArray[np.bool_]
    ) -> dict[str, Any]:
        """Return what only some aggregates need: extremes, a sketch, or the sums of a ratio's divisor."""
        match metric.function:
            case AggregateFunction.MIN | AggregateFunction.MAX if counted.any():
                extremes = values[counted]
                return {"minimum": float(extremes.min()), "maximum": float(extremes.max())}
            case AggregateFunction.QUANTILE:
                return {"sketch": summarise_numbers(values[counted], centre=0.0)}
            case AggregateFunction.RATIO:
                value, divisor = values[counted], self.divisors[key][counted]
                with np.errstate(over="ignore"):
                    return {"divisors": Moments.of(divisor), "product": float(value @ divisor)}
        return {}


def evaluate(
    metrics: Mapping[str, Aggregate], rows: int, read: ColumnReader, is_labelled: NDArray[np.bool_]
) -> MetricValues:
    """Compute metrics for `rows` rows; each column is read once.

    Metrics of labels look at labelled rows alone. A result that is not finite, as of a division by zero, is missing.
    """
    evaluator, of_labels = _Evaluator(rows, read), {key for key, one in metrics.items() if one.has_labels}
    values, divisors = np.empty((len(metrics), rows)), {}
    for place, (key, metric) in enumerate(metrics.items()):
        value = evaluator.values(metric.value)
        if metric.divisor is not None:
            divisor = evaluator.values(metric.divisor)
            value, divisors[key] = np.where(np.isnan(divisor), np.nan, value), divisor
        if metric.where is not None:
            chosen = evaluator.values(metric.where)
            value = np.where(chosen == 1, value, NOT_CHOSEN)
            value[np.isnan(chosen)] = np.nan
        values[place] = value
        if key in of_labels:
            values[place, ~is_labelled] = NOT_CHOSEN
    return MetricValues(metrics, of_labels, values, divisors)


class _Evaluator:
    """Computes expressions over the same rows; columns are read once, and no other result is kept."""

    def __init__(self, rows: int, read: ColumnReader) -> None:
        self._rows = rows
        self._read = read
        self._vocabulary = Vocabulary()
        self._columns: dict[ColumnName, Floats] = {}

    def values(self, node: Expression) -> Floats:
        match node:
            case Constant(value):
                number = self._vocabulary.number(value) if isinstance(value, str) else float(value)
                return np.broadcast_to(np.float64(number), self._rows)
            case ColumnName():
                if node not in self._columns:
                    self._columns[node] = _finite(self._read(node, self._vocabulary))
                return self._columns[node]
            case Operation(function, operands):
                with np.errstate(over="ignore", invalid="ignore"):
                    return _finite(FUNCTIONS[function].compute(*map(self.values, operands)))


def _finite(values: Floats) -> Floats:
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values) if infinite.any() else values
