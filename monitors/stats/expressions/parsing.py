"""Reads the text of a metric into its tree, by recursive descent: a function for each level of precedence."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import NoReturn

from monitors.stats.expressions.tree import (
    CALLED,
    FUNCTIONS,
    NAMED_SOURCES,
    Aggregate,
    AggregateFunction,
    ColumnName,
    ColumnSource,
    Constant,
    Expression,
    ExpressionError,
    Operation,
)

MAX_LENGTH = 2_000  # characters
MAX_NODES = 200
MAX_DEPTH = 30
_COSTS = ("tp", "fp", "fn", "tn")
_COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
_RESERVED = ("and", "or", "not", "is", "missing", "where", "true", "false", "if")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
        | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
        | (?P<name>[^\W\d]\w*)
        | (?P<symbol>==|!=|<=|>=|[-+*/()<>,=])
        | (?P<end>$)
    )""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


@lru_cache(maxsize=1_000)
def parse_metric(text: str) -> Aggregate:
    """Read `aggregate(expression) [where condition]`; whether its columns exist is not looked at here.

    Raises ExpressionError.

    >>> parse_metric("mean(amount) where region == 'north'").function.value
    'mean'
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"An expression has up to {MAX_LENGTH:,} characters, and this one has {len(text):,}."
        )
    return _Parser(_tokens(text)).metric()


def _tokens(text: str) -> list[_Token]:
    tokens, at = list[_Token](), 0
    while not tokens or tokens[-1].kind != "end":
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise ExpressionError(f"{text[at]!r} does not belong here.", at)
        tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
        at = found.end()
    return tokens


class _Parser:
    """Reads tokens from left to right; the bounds on depth and on nodes hold while it reads."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._place = 0
        self._depth = 0
        self._nodes = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _advance(self) -> _Token:
        token = self._next
        self._place += 1
        return token

    def _accept(self, *texts: str) -> _Token | None:
        """Read the next token if it is one of these symbols or words."""
        token = self._next
        return self._advance() if token.kind in ("symbol", "name") and token.text in texts else None

    def _require(self, text: str) -> _Token:
        return self._accept(text) or self._refuse(f"expected {text!r}")

    def _refuse(self, expected: str) -> NoReturn:
        token = self._next
        if token.text == "=":
            raise ExpressionError("Use == to compare; = only names the costs of cost().", token.at)
        found = f"not {token.text[:40]!r}" if token.kind != "end" else "but the expression ends"
        raise ExpressionError(f"{expected[0].upper()}{expected[1:]}, {found}.", token.at)

    # -- the aggregate -------------------------------------------------------------------------------------------------
    def metric(self) -> Aggregate:
        aggregate = self._aggregate()
        if self._accept("where"):
            aggregate = replace(aggregate, where=self._expression())
        if self._next.kind != "end":
            self._refuse("expected the end or `where` and a condition")
        return aggregate

    def _aggregate(self) -> Aggregate:
        known = [*map(str, AggregateFunction), "cost"]
        token = self._next
        if token.kind != "name" or token.text not in known:
            hint = _did_you_mean(token.text, known)
            raise ExpressionError(f"A metric begins with one of {', '.join(known)}.{hint}", token.at)
        if token.text == "cost":
            return Aggregate(AggregateFunction.MEAN, self._primary())
        self._advance()
        function = AggregateFunction(token.text)
        self._require("(")
        match function:
            case AggregateFunction.COUNT | AggregateFunction.RATE:
                aggregate = Aggregate(function)
            case AggregateFunction.RATIO:
                value = self._expression()
                self._require(",")
                aggregate = Aggregate(function, value, divisor=self._expression())
            case AggregateFunction.QUANTILE:
                value = self._expression()
                self._require(",")
                aggregate = Aggregate(function, value, q=self._quantile())
            case _:
                aggregate = Aggregate(function, self._expression())
        if function in (AggregateFunction.COUNT, AggregateFunction.RATE) and self._next.text != ")":
            self._refuse(f"{function} takes nothing: expected ')', and a condition after `where`")
        self._require(")")
        return aggregate

    def _quantile(self) -> float:
        at, q = self._next.at, self._number()
        if not 0 < q < 1:
            raise ExpressionError("A quantile lies between 0 and 1, such as 0.95.", at)
        return q

    # -- expressions, by precedence ------------------------------------------------------------------------------------
    def _expression(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"An expression is nested up to {MAX_DEPTH} deep.", self._next.at)
        left = self._conjunction()
        while token := self._accept("or"):
            left = self._call(token, "or", left, self._conjunction())
        self._depth -= 1
        return left

    def _conjunction(self) -> Expression:
        left = self._negation()
        while token := self._accept("and"):
            left = self._call(token, "and", left, self._negation())
        return left

    def _negation(self) -> Expression:
        marks = []
        while token := self._accept("not"):
            marks.append(token)
        inner = self._comparison()
        for token in reversed(marks):
            inner = self._call(token, "not", inner)
        return inner

    def _comparison(self) -> Expression:
        left = self._sum()
        if token := self._accept(*_COMPARISONS):
            left = self._call(token, token.text, left, self._sum())
            if self._next.text in _COMPARISONS and self._next.kind == "symbol":
                raise ExpressionError("Join two comparisons by `and`.", self._next.at)
        if token := self._accept("is"):
            is_negated = self._accept("not")
            self._require("missing")
            left = self._call(token, "is missing", left)
            if is_negated:
                left = self._call(is_negated, "not", left)
        return left

    def _sum(self) -> Expression:
        left = self._product()
        while token := self._accept("+", "-"):
            left = self._call(token, token.text, left, self._product())
        return left

    def _product(self) -> Expression:
        left = self._signed()
        while token := self._accept("*", "/"):
            left = self._call(token, token.text, left, self._signed())
        return left

    def _signed(self) -> Expression:
        marks = []
        while token := self._accept("-"):
            marks.append(token)
        inner = self._primary()
        for token in reversed(marks):
            inner = self._call(token, "negative", inner)
        return inner

    def _primary(self) -> Expression:
        token = self._next
        if token.kind == "number":
            return self._counted(Constant(self._number(), token.at))
        if token.kind == "text":
            self._advance()
            return self._counted(Constant(_unquote(token.text), token.at))
        if self._accept("("):
            inner = self._expression()
            self._require(")")
            return inner
        if token.kind != "name" or (token.text in _RESERVED and token.text not in ("true", "false", "if")):
            self._refuse("expected a value, a name or '('")
        self._advance()
        if token.text in ("true", "false"):
            return self._counted(Constant(token.text == "true", token.at))
        if self._accept("("):
            return self._called(token)
        if token.text == "if":
            self._refuse("expected '(' after if")
        source = token.text if token.text in ColumnSource and token.text not in NAMED_SOURCES else ""
        if source:
            return self._counted(ColumnName(ColumnSource(source), at=token.at))
        return self._counted(ColumnName(ColumnSource.FEATURE, token.text, token.at))

    def _called(self, token: _Token) -> Expression:
        """Read the operands of a function, up to and with the closing parenthesis."""
        name = token.text
        if name in NAMED_SOURCES:
            if self._next.kind != "text":
                self._refuse(f"expected the name of the {name} in quotes")
            column = ColumnName(ColumnSource(name), _unquote(self._advance().text), token.at)
            self._require(")")
            return self._counted(column)
        if name == "cost":
            return self._cost(token)
        if name not in CALLED:
            known = (*CALLED, "cost", *NAMED_SOURCES)
            hint = _did_you_mean(name, known)
            if name in AggregateFunction:
                hint = " An aggregate stands at the beginning, and only there."
            raise ExpressionError(f"{name[:40]!r} is no function; use {', '.join(known)}.{hint}", token.at)
        operands = [self._expression()]
        while self._accept(","):
            operands.append(self._expression())
        self._require(")")
        takes = len(FUNCTIONS[name].takes)
        if len(operands) != takes:
            raise ExpressionError(f"{name} takes {takes} values, not {len(operands)}.", token.at)
        return self._call(token, name, *operands)

    def _cost(self, token: _Token) -> Expression:
        """Read a cost matrix such as `cost(fp=5, fn=100)`: what each kind of answer costs; one that is not named 0."""
        costs: dict[str, float] = {}
        while self._next.text != ")":
            if costs:
                self._require(",")
            name = self._accept(*_COSTS) or self._refuse(f"expected one of {', '.join(_COSTS)}")
            if name.text in costs:
                raise ExpressionError(f"{name.text} has two costs.", name.at)
            self._require("=")
            sign = -1 if self._accept("-") else 1
            costs[name.text] = sign * self._number()
        self._require(")")
        if not costs:
            raise ExpressionError(
                "cost needs what at least one kind of answer costs, such as fp=5.", token.at
            )
        tp, fp, fn, tn = (self._counted(Constant(costs.get(name, 0.0), token.at)) for name in _COSTS)
        actual = ColumnName(ColumnSource.LABEL_POSITIVE, at=token.at)
        answered = ColumnName(ColumnSource.PREDICTED_POSITIVE, at=token.at)
        positive, negative = self._call(token, "if", actual, tp, fp), self._call(token, "if", actual, fn, tn)
        return self._call(token, "if", answered, positive, negative)

    def _number(self) -> float:
        if self._next.kind != "number":
            self._refuse("expected a number")
        token = self._advance()
        value = float(token.text)
        if not math.isfinite(value):
            raise ExpressionError("This number is too large.", token.at)
        return value

    def _call(self, token: _Token, function: str, *operands: Expression) -> Expression:
        return self._counted(Operation(function, operands, token.at))

    def _counted(self, node: Expression) -> Expression:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ExpressionError(
                f"An expression has up to {MAX_NODES} names, values and operators.", node.at
            )
        return node


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    nearest = get_close_matches(name[:40], known, n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
