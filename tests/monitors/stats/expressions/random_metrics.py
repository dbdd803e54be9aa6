"""Random metrics over a table of awkward values, each as its text and as the same question in SQL."""

import random
from dataclasses import dataclass

import numpy as np

from monitors.stats.expressions.checking import ModelColumns
from monitors.stats.expressions.evaluation import Vocabulary, evaluate
from monitors.stats.expressions.tree import Aggregate, ColumnName, Floats
from monitors.stats.mergeable.expression_sums import ExpressionSums, merge_expressions

NUMBERS, TEXTS = ("amount", "age", "balance"), ("region", "plan")
COLUMNS = ModelColumns("regression", dict.fromkeys(NUMBERS, True) | dict.fromkeys(TEXTS, False))
ROWS = 2_000
PARTS = 7
_REGIONS = ("north", "south", "it's", "")


def table(seed: int) -> dict[str, np.ndarray]:
    """Draw the columns: zeros to divide by, values of any sign, NaN and None where one is missing."""
    rng = np.random.default_rng(seed)
    numbers = {
        "amount": rng.lognormal(3, 1, ROWS),
        "age": rng.integers(-2, 6, ROWS).astype(np.float64),
        "balance": rng.normal(0, 1_000, ROWS),
    }
    for values in numbers.values():
        values[rng.random(ROWS) < 0.1] = np.nan
    texts = {name: rng.choice(np.array([*_REGIONS, None], object), ROWS) for name in TEXTS}
    return numbers | texts


def sums_in_parts(metric: Aggregate, columns: dict[str, np.ndarray]) -> ExpressionSums:
    """Evaluate a metric as the summaries do: over parts of the rows, which are added up."""
    key = "metric"

    def read(column: ColumnName, vocabulary: Vocabulary) -> Floats:
        values = columns[column.name]
        return vocabulary.numbers(values) if values.dtype == object else values

    values = evaluate({key: metric}, ROWS, read, np.ones(ROWS, bool))
    places = np.arange(ROWS) % PARTS
    parts = [values.take(places == part).sums(int((places == part).sum()), 0) for part in range(PARTS)]
    return merge_expressions(parts)[key]


@dataclass(frozen=True)
class Written:
    """One expression, as we and as SQL write it."""

    ours: str
    sql: str


@dataclass(frozen=True)
class RandomMetric:
    """A metric and the SQL of its value and of how many rows count; of a sum also that of its absolute values."""

    text: str
    value: str
    count: str
    scale: str


class MetricWriter:
    """Writes random metrics; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def metric(self) -> RandomMetric:
        condition = self._condition(2) if self._dice.random() < 0.6 else None
        where = f" where {condition.ours}" if condition else ""
        rows = f"from rows where {condition.sql}" if condition else "from rows"
        function = self._dice.choice(["count", "sum", "mean", "share", "min", "max", "ratio"])
        if function == "count":
            return RandomMetric(
                f"count(){where}", f"select count(*) {rows}", f"select count(*) {rows}", "select 1.0"
            )
        if function == "ratio":
            value, divisor = self._number(2), self._number(2)
            both = f"from (select {value.sql} as u, {divisor.sql} as v {rows}) where u is not null and v is not null"
            return RandomMetric(
                f"ratio({value.ours}, {divisor.ours}){where}",
                f"select sum(u) / nullif(sum(v), 0) {both}",
                f"select count(*) {both}",
                "select (sum(abs(u)) + sum(abs(v)) * abs(sum(u) / nullif(sum(v), 0))) / nullif(abs(sum(v)), 0) "
                f"{both}",
            )
        value = self._condition(2) if function == "share" else self._number(3)
        of = f"cast({value.sql} as int)" if function == "share" else value.sql
        sql = {"mean": "avg", "share": "avg"}.get(function, function)
        scale = {"mean": "avg", "share": "avg", "sum": "sum"}.get(function, "max")
        inner = f"from (select {of} as u {rows})"
        return RandomMetric(
            f"{function}({value.ours}){where}",
            f"select {sql}(u) {inner}",
            f"select count(u) {inner}",
            f"select {scale}(abs(u)) {inner}",
        )

    def _number(self, depth: int) -> Written:
        if depth == 0 or self._dice.random() < 0.2:
            if self._dice.random() < 0.3:
                value = self._dice.choice(["0", "1", "2.5", "1e3"])
                return Written(value, f"cast({value} as double)")
            name = self._dice.choice(NUMBERS)
            return Written(name, name)
        kind = self._dice.choice(["+", "-", "*", "/", "negative", "abs", "log", "min", "max", "if"])
        left, right = self._number(depth - 1), self._number(depth - 1)
        match kind:
            case "+" | "-" | "*":
                return Written(f"({left.ours} {kind} {right.ours})", f"({left.sql} {kind} {right.sql})")
            case "/":
                return Written(f"({left.ours} / {right.ours})", f"({left.sql} / nullif({right.sql}, 0))")
            case "negative":
                return Written(f"-{left.ours}", f"(-{left.sql})")
            case "abs":
                return Written(f"abs({left.ours})", f"abs({left.sql})")
            case "log":
                return Written(f"log({left.ours})", f"(case when {left.sql} > 0 then ln({left.sql}) end)")
            case "min" | "max":
                sql = "least" if kind == "min" else "greatest"  # of SQL they leave what is missing out
                known = f"{left.sql} is not null and {right.sql} is not null"
                return Written(
                    f"{kind}({left.ours}, {right.ours})",
                    f"(case when {known} then {sql}({left.sql}, {right.sql}) end)",
                )
        chosen = self._condition(depth - 1)
        return Written(
            f"if({chosen.ours}, {left.ours}, {right.ours})",
            f"(case when {chosen.sql} then {left.sql} when not {chosen.sql} then {right.sql} end)",
        )

    def _condition(self, depth: int) -> Written:
        kind = self._dice.choice(
            ["compare", "text", "missing"] if depth == 0 else ["compare", "text", "and", "or", "not"]
        )
        match kind:
            case "compare":
                left, right = self._number(min(depth, 1)), self._number(0)
                operator = self._dice.choice(["<", "<=", ">", ">=", "==", "!="])
                sql = {"==": "=", "!=": "<>"}.get(operator, operator)
                return Written(f"({left.ours} {operator} {right.ours})", f"({left.sql} {sql} {right.sql})")
            case "text":
                name, operator = self._dice.choice(TEXTS), self._dice.choice(["==", "!="])
                value = self._dice.choice(_REGIONS)
                quoted = value.replace("'", "''")
                return Written(
                    f'({name} {operator} "{value}")',
                    f"({name} {'=' if operator == '==' else '<>'} '{quoted}')",
                )
            case "missing":
                name = self._dice.choice([*NUMBERS, *TEXTS])
                return Written(f"({name} is missing)", f"({name} is null)")
            case "not":
                inner = self._condition(depth - 1)
                return Written(f"not {inner.ours}", f"(not {inner.sql})")
        left, right = self._condition(depth - 1), self._condition(depth - 1)
        return Written(f"({left.ours} {kind} {right.ours})", f"({left.sql} {kind} {right.sql})")
