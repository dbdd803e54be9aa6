"""What an expression of a custom metric consists of.

Every value of a row is a float64, and NaN where it is missing: a boolean is 0 or 1, and a text the number that its
`Vocabulary` gave it. So a missing operand makes a result missing without a second array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

type Floats = NDArray[np.float64]


class ValueKind(StrEnum):
    """What the values of an expression are."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"


class ColumnSource(StrEnum):
    """Where the values of a column come from."""

    FEATURE = "feature"
    TAG = "tag"
    PREDICTION = "prediction"
    PROBABILITY = "probability"  # of the positive class; of several classes that of the predicted one
    LATENCY = "latency_ms"
    PREDICTED_POSITIVE = "predicted_positive"
    LABEL = "label"
    LABEL_POSITIVE = "label_positive"


NAMED_SOURCES = (ColumnSource.FEATURE, ColumnSource.TAG)
"""Those of which there are several, each with its name."""
LABEL_SOURCES = (ColumnSource.LABEL, ColumnSource.LABEL_POSITIVE)


class ExpressionError(ValueError):
    """A text is no metric: a sentence says why, and at which character if it is about one."""

    def __init__(self, sentence: str, at: int | None = None) -> None:
        super().__init__(sentence if at is None else f"Character {at + 1}: {sentence}")


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, a text or a boolean that the expression states."""

    value: float | str | bool
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class ColumnName:
    """A column of the log; only a feature and a tag have a name."""

    source: ColumnSource
    name: str = ""
    at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.name or self.source


@dataclass(frozen=True, slots=True)
class Operation:
    """A function or an operator, by its name in FUNCTIONS, and what it is of."""

    function: str
    operands: tuple[Expression, ...]
    at: int = field(default=0, compare=False)


type Expression = Constant | ColumnName | Operation


class AggregateFunction(StrEnum):
    """What is made of the values of all rows."""

    COUNT = "count"
    RATE = "rate"
    SUM = "sum"
    MEAN = "mean"
    SHARE = "share"
    RATIO = "ratio"
    MIN = "min"
    MAX = "max"
    QUANTILE = "quantile"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A metric: `function` of `value` over the rows for which `where` holds; of a ratio the sum of `value` over that of
    `divisor`, and `q` is of a quantile.
    """

    function: AggregateFunction
    value: Expression = Constant(1.0)
    divisor: Expression | None = None
    q: float | None = None
    where: Expression | None = None

    @property
    def columns(self) -> set[ColumnName]:
        """The columns that it reads."""
        parts = [part for part in (self.value, self.divisor, self.where) if part is not None]
        return {node for part in parts for node in nodes_of(part) if isinstance(node, ColumnName)}

    @property
    def has_labels(self) -> bool:
        """Whether it is of labelled rows alone."""
        return any(column.source in LABEL_SOURCES for column in self.columns)


def nodes_of(expression: Expression) -> Iterator[Expression]:
    """Yield an expression and all that it is made of."""
    yield expression
    for operand in expression.operands if isinstance(expression, Operation) else ():
        yield from nodes_of(operand)


@dataclass(frozen=True, slots=True)
class Function:
    """What a function takes and gives; an operand of kind None is of any kind, but all such are of the same."""

    takes: tuple[ValueKind | None, ...]
    gives: ValueKind | None
    compute: Callable[..., Floats]


def _compare(ufunc: np.ufunc) -> Callable[[Floats, Floats], Floats]:
    def compared(left: Floats, right: Floats) -> Floats:
        holds: Floats = ufunc(left, right).astype(np.float64)
        holds[np.isnan(left + right)] = np.nan  # both are finite or missing
        return holds

    return compared


def _both(left: Floats, right: Floats) -> Floats:
    """SQL's `and`: false where either is false, whatever the other one is."""
    return np.where((left == 0) | (right == 0), 0.0, left * right)


def _either(left: Floats, right: Floats) -> Floats:
    """SQL's `or`: true where either is true, whatever the other one is."""
    return np.where((left == 1) | (right == 1), 1.0, left + right)


def _divide(left: Floats, right: Floats) -> Floats:
    return np.divide(left, np.where(right == 0, np.nan, right))


def _log(values: Floats) -> Floats:
    return np.log(np.where(values > 0, values, np.nan))


def _choose(condition: Floats, chosen: Floats, other: Floats) -> Floats:
    return np.where(np.isnan(condition), np.nan, np.where(condition == 1, chosen, other))


_N, _B = ValueKind.NUMBER, ValueKind.BOOLEAN
FUNCTIONS: dict[str, Function] = {
    "+": Function((_N, _N), _N, np.add),
    "-": Function((_N, _N), _N, np.subtract),
    "*": Function((_N, _N), _N, np.multiply),
    "/": Function((_N, _N), _N, _divide),
    "negative": Function((_N,), _N, np.negative),
    "<": Function((_N, _N), _B, _compare(np.less)),
    "<=": Function((_N, _N), _B, _compare(np.less_equal)),
    ">": Function((_N, _N), _B, _compare(np.greater)),
    ">=": Function((_N, _N), _B, _compare(np.greater_equal)),
    "==": Function((None, None), _B, _compare(np.equal)),
    "!=": Function((None, None), _B, _compare(np.not_equal)),
    "and": Function((_B, _B), _B, _both),
    "or": Function((_B, _B), _B, _either),
    "not": Function((_B,), _B, lambda values: 1 - values),
    "is missing": Function((None,), _B, lambda values: np.isnan(values).astype(np.float64)),
    "abs": Function((_N,), _N, np.abs),
    "log": Function((_N,), _N, _log),
    "min": Function((_N, _N), _N, np.minimum),
    "max": Function((_N, _N), _N, np.maximum),
    "if": Function((_B, None, None), None, _choose),
}
"""By their names; `a - b` and `-a` are two functions."""
CALLED = ("abs", "log", "min", "max", "if")
"""Those that are written as calls; the others are operators."""
