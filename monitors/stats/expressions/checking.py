"""Refuses a metric that does not fit the columns of its model, and says what kind of value each column has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from monitors.stats.expressions.tree import (
    FUNCTIONS,
    Aggregate,
    AggregateFunction,
    ColumnName,
    ColumnSource,
    Constant,
    Expression,
    ExpressionError,
    Operation,
    ValueKind,
)

_MAX_SHOWN = 60
_BINARY_ONLY = (ColumnSource.PREDICTED_POSITIVE, ColumnSource.LABEL_POSITIVE)


@dataclass(frozen=True)
class ModelColumns:
    """The columns that expressions of a model may name.

    `features` says of each whether it is a number; where nothing is known of a model yet it is empty, and any name will
    do. `hidden` says why a feature cannot be read, as the end of a sentence.
    """

    task: str
    features: Mapping[str, bool] = field(default_factory=dict)
    hidden: Mapping[str, str] = field(default_factory=dict)


def check_metric(metric: Aggregate, columns: ModelColumns) -> dict[ColumnName, ValueKind]:
    """Return the kind of each column that a metric reads. Raises ExpressionError."""
    checker = _Checker(columns)
    wanted = ValueKind.BOOLEAN if metric.function == AggregateFunction.SHARE else ValueKind.NUMBER
    checker.require(metric.value, wanted)
    if metric.divisor is not None:
        checker.require(metric.divisor, ValueKind.NUMBER)
    if metric.where is not None:
        checker.require(metric.where, ValueKind.BOOLEAN)
    return checker.kinds


class _Checker:
    def __init__(self, columns: ModelColumns) -> None:
        self._columns = columns
        self.kinds: dict[ColumnName, ValueKind] = {}

    def require(self, node: Expression, wanted: ValueKind) -> None:
        found = self._kind(node, wanted)
        if found != wanted:
            hint = " Compare it with something." if wanted == ValueKind.BOOLEAN else ""
            raise ExpressionError(
                f"{_shown(node)} is a {found}, and a {wanted} is needed here.{hint}", node.at
            )

    def _kind(self, node: Expression, wanted: ValueKind | None) -> ValueKind:
        match node:
            case Constant(bool()):
                return ValueKind.BOOLEAN
            case Constant(str()):
                return ValueKind.TEXT
            case Constant():
                return ValueKind.NUMBER
            case ColumnName():
                if node not in self.kinds:
                    self.kinds[node] = self._kind_of_column(node, wanted)
                return self.kinds[node]
            case Operation():
                return self._kind_of_call(node, wanted)

    def _kind_of_call(self, call: Operation, wanted: ValueKind | None) -> ValueKind:
        function = FUNCTIONS[call.function]
        alike = [operand for operand, kind in zip(call.operands, function.takes, strict=True) if kind is None]
        for operand, kind in zip(call.operands, function.takes, strict=True):
            if kind is not None:
                self.require(operand, kind)
        if not alike:
            assert function.gives is not None
            return function.gives
        # Of a column of which nothing is known the other operand says what it is.
        alike.sort(key=lambda operand: self._is_unknown(operand))
        first = self._kind(alike[0], wanted if function.gives is None else None)
        for operand in alike[1:]:
            if (other := self._kind(operand, first)) != first:
                quotes = " Put a text in quotes." if ValueKind.TEXT in (first, other) else ""
                raise ExpressionError(
                    f"{_shown(alike[0])} is a {first} and {_shown(operand)} a {other}; both must be of one "
                    f"kind.{quotes}",
                    call.at,
                )
        return function.gives or first

    def _is_unknown(self, node: Expression) -> bool:
        return (
            isinstance(node, ColumnName)
            and node.source == ColumnSource.FEATURE
            and not self._columns.features
        )

    def _kind_of_column(self, column: ColumnName, wanted: ValueKind | None) -> ValueKind:
        is_class = self._columns.task in ("binary", "multiclass")
        match column.source:
            case ColumnSource.TAG:
                return ValueKind.TEXT
            case ColumnSource.PREDICTION | ColumnSource.LABEL:
                return ValueKind.TEXT if is_class else ValueKind.NUMBER
            case ColumnSource.PROBABILITY if not is_class:
                raise ExpressionError("Only classifiers have a probability.", column.at)
            case source if source in _BINARY_ONLY:
                if self._columns.task != "binary":
                    raise ExpressionError(f"Only models of two classes have {source} and costs.", column.at)
                return ValueKind.BOOLEAN
            case ColumnSource.FEATURE:
                return self._kind_of_feature(column, wanted)
        return ValueKind.NUMBER

    def _kind_of_feature(self, column: ColumnName, wanted: ValueKind | None) -> ValueKind:
        features = self._columns.features
        if column.name in self._columns.hidden:
            raise ExpressionError(
                f"{column.name!r} {self._columns.hidden[column.name]}, so no row can be computed with it.",
                column.at,
            )
        if not features:
            return wanted if wanted == ValueKind.TEXT else ValueKind.NUMBER
        if column.name not in features:
            nearest = get_close_matches(column.name, features, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else "name one that was seen or declared."
            raise ExpressionError(
                f"{column.name[:_MAX_SHOWN]!r} is no feature of this model; {hint}", column.at
            )
        return ValueKind.NUMBER if features[column.name] else ValueKind.TEXT


def _shown(node: Expression) -> str:
    match node:
        case Constant(value):
            return repr(value if not isinstance(value, float) else float(f"{value:g}"))[:_MAX_SHOWN]
        case ColumnName():
            return str(node)[:_MAX_SHOWN]
        case Operation():
            return f"the result of {node.function!r}"
