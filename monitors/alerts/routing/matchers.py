"""Conditions on labels, such as `severity="critical"` and `model=~"churn|credit.*"`.

Expressions are RE2's, which match in time linear in the text, and cover the whole value. A label that is missing equals
the empty text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import re2

MAX_LABEL = 64
MAX_VALUE = 500
MAX_LABELS = 30
_LABEL = re.compile(r'(?:[^,\n"]|"(?:[^"\\]|\\.)*"?)+')
_OPERATORS = ("=~", "!~", "!=", "=")
_MATCHER = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\([\\"n])')
_MEMORY_OF_EXPRESSION = 1 << 20  # bytes


@dataclass(frozen=True)
class Matcher:
    """One condition on one label."""

    label: str
    operator: str
    value: str
    _expression: re2._Regexp | None = field(default=None, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `label="value"`; the quotes may be left out. Raises ValueError with a sentence."""
        parts = _MATCHER.fullmatch(text)
        if parts is None:
            raise ValueError(
                f"{_shown(text)} is no matcher; write a label, one of {', '.join(_OPERATORS)} and a value, "
                'such as severity="critical"'
            )
        label, operator, written = parts.groups()
        value = _unquoted(written)
        if value is None:
            raise ValueError(f"the value of {_shown(text)} has a quote too many or too few")
        if len(label) > MAX_LABEL or len(value) > MAX_VALUE:
            raise ValueError(
                f"{_shown(text)} is too long: a label has at most {MAX_LABEL} characters, a value {MAX_VALUE}"
            )
        expression = _compile(value) if operator in ("=~", "!~") else None
        return cls(label, operator, value, expression)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether labels meet the condition."""
        found = labels.get(self.label, "")
        is_equal = found == self.value if self._expression is None else self._covers(found)
        return is_equal if self.operator in ("=", "=~") else not is_equal

    def _covers(self, text: str) -> bool:
        assert self._expression is not None
        return self._expression.fullmatch(text) is not None

    def __str__(self) -> str:
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.label}{self.operator}"{value}"'


def parse_labels(text: str) -> dict[str, str]:
    """Read labels such as `severity=critical, model="churn"`. Raises ValueError with a sentence."""
    labels: dict[str, str] = {}
    for part in _LABEL.findall(text):
        if not part.strip():
            continue
        matcher = Matcher.parse(part)
        if matcher.operator != "=":
            raise ValueError(
                f"{_shown(part.strip())} is a condition; write the label and its value, label=value"
            )
        labels[matcher.label] = matcher.value
    if len(labels) > MAX_LABELS:
        raise ValueError(f"there are {len(labels)} labels; write at most {MAX_LABELS}")
    return labels


def write_labels(labels: Mapping[str, str]) -> str:
    """Write the labels that are not empty as `parse_labels` reads them."""
    return ", ".join(str(Matcher(name, "=", value)) for name, value in labels.items() if value)


def all_match(matchers: tuple[Matcher, ...], labels: Mapping[str, str]) -> bool:
    """Return whether labels meet every condition."""
    return all(matcher.matches(labels) for matcher in matchers)


def _unquoted(written: str) -> str | None:
    """Return a value without its quotes; None where they do not fit."""
    if '"' not in written:
        return written
    quoted = _QUOTED.fullmatch(written)
    if quoted is None:
        return None
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], quoted[1])


def _compile(expression: str) -> re2._Regexp:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY_OF_EXPRESSION
    try:
        return re2.compile(expression, options)
    except re2.error as error:
        reason = error.args[0]
        detail = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"{_shown(expression)} is no regular expression of RE2: {detail}") from error


def _shown(text: str) -> str:
    """Return the start of a text, so that a message may name it."""
    return repr(text if len(text) <= 60 else text[:60] + "…")
