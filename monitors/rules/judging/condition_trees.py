"""Conditions as typed trees: `all`, `any` and `not` over terms, each a metric against its right side. Pure.

A document such as `{"all": [{"metric": "psi", "feature": "income", "limit": "calibrated"}, ...]}` is parsed at once;
`decide` then says of one window whether the tree holds, by Kleene's three-valued logic: that a term is unknown
matters only where the others leave the tree open.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from driftline.base.errors import invalid
from driftline.base.strict_json import escape_pointer, printable

MAX_DEPTH = 5
"""Levels of a tree; a term alone is one."""
MAX_TERMS = 20
MAX_NAME = 200
MAX_DAYS_BEFORE = 366
LAST_WINDOWS = range(5, 367)
OPERATORS = ("above", "below")
_GROUPS = ("all", "any", "not")
_EXAMPLE = '{"metric": "psi", "feature": "income", "threshold": 0.25}'


@dataclass(frozen=True)
class FixedThreshold:
    """A number."""

    threshold: float


@dataclass(frozen=True)
class OwnLimit:
    """The calibrated limit of the point itself, as pages without a rule judge it."""


@dataclass(frozen=True)
class TimesBefore:
    """So many times the value of the same window some days before."""

    times: float
    days_before: int


@dataclass(frozen=True)
class DeviationsAway:
    """So many deviations from the middle of the windows before, on the operator's side."""

    deviations: float
    last_windows: int


type RightSide = FixedThreshold | OwnLimit | TimesBefore | DeviationsAway


@dataclass(frozen=True)
class Term:
    """A metric, of a feature (`*`: any) and a segment where it has them, against its right side.

    `operator` is empty beside a calibrated limit, which has a direction of its own.
    """

    metric: str
    feature: str
    segment: str
    operator: str
    right: RightSide
    pointer: str = ""


@dataclass(frozen=True)
class AllOf:
    members: tuple["ConditionTree", ...]


@dataclass(frozen=True)
class AnyOf:
    members: tuple["ConditionTree", ...]


@dataclass(frozen=True)
class NotOf:
    member: "ConditionTree"


type ConditionTree = Term | AllOf | AnyOf | NotOf


def terms_of(tree: ConditionTree) -> Iterator[Term]:
    """Yield the terms of a tree in the order in which they are written."""
    match tree:
        case Term():
            yield tree
        case NotOf():
            yield from terms_of(tree.member)
        case _:
            for member in tree.members:
                yield from terms_of(member)


# -- what a tree says --------------------------------------------------------------------------------------------------
class TermReading(Protocol):
    """What one term finds in a window; `holds` is None where that is unknown."""

    @property
    def holds(self) -> bool | None: ...


@dataclass(frozen=True)
class TreeVerdict[R: TermReading]:
    """Whether a tree holds, None where that is unknown, and the first reading that decides that."""

    holds: bool | None
    ground: R


def decide[R: TermReading](tree: ConditionTree, read: Callable[[Term], R]) -> TreeVerdict[R]:
    """Return whether a tree holds in a window that `read` reads term by term.

    Where all members have to hold and do, the first of them is the ground; else the first that settles it is, and where
    nothing is settled the first that is unknown.
    """
    match tree:
        case Term():
            reading = read(tree)
            return TreeVerdict(reading.holds, reading)
        case NotOf():
            inner = decide(tree.member, read)
            return TreeVerdict(None if inner.holds is None else not inner.holds, inner.ground)
    settles = isinstance(tree, AnyOf)
    verdicts = [decide(member, read) for member in tree.members]
    found = {verdict.holds for verdict in verdicts}
    holds = settles if settles in found else None if None in found else not settles
    return TreeVerdict(holds, next(one.ground for one in verdicts if one.holds is holds))


# -- documents ---------------------------------------------------------------------------------------------------------
def parse_condition(document: Any, pointer: str = "/condition") -> ConditionTree:
    """Parse a document into a tree. Raises a 422 `Problem` with the place of what is wrong."""
    tree = _parse(document, pointer, MAX_DEPTH)
    if (count := sum(1 for _ in terms_of(tree))) > MAX_TERMS:
        raise invalid(pointer, f"A condition has at most {MAX_TERMS} comparisons, not {count}.")
    return tree


def _parse(document: Any, pointer: str, levels: int) -> ConditionTree:
    if levels == 0:
        raise invalid(pointer, f"A condition has at most {MAX_DEPTH} levels; write it flatter.", "too_deep")
    if not isinstance(document, Mapping):
        raise invalid(pointer, f"A condition is an object with all, any or not, or such as {_EXAMPLE}.")
    if not (groups := [name for name in _GROUPS if name in document]):
        return _term(document, pointer)
    if len(document) > 1:
        other = next(key for key in document if key != groups[0])
        raise invalid(
            f"{pointer}/{escape_pointer(str(other))}",
            f"{groups[0]!r} stands alone in its object; put {printable(str(other))!r} into its list, or leave it out.",
            "unknown_field",
        )
    [name] = groups
    here, inner = f"{pointer}/{name}", document[name]
    if name == "not":
        return NotOf(_parse(inner, here, levels - 1))
    if not isinstance(inner, list) or not 1 <= len(inner) <= MAX_TERMS:
        raise invalid(here, f"{name!r} has a list of 1 to {MAX_TERMS} conditions.")
    members = tuple(_parse(member, f"{here}/{place}", levels - 1) for place, member in enumerate(inner))
    return AllOf(members) if name == "all" else AnyOf(members)


def _term(document: Mapping[str, Any], pointer: str) -> Term:
    rights = [name for name in _RIGHT_SIDES if name in document]
    if len(rights) != 1:
        asked = "one of threshold, limit, times or deviations"
        raise invalid(pointer, f"A comparison has exactly {asked}, such as {_EXAMPLE}.")
    [kind] = rights
    read, companions = _RIGHT_SIDES[kind]
    known = {"metric", "feature", "segment", "operator", kind, *companions}
    for key in document:
        if key not in known:
            raise invalid(
                f"{pointer}/{escape_pointer(str(key))}",
                f"{printable(str(key))!r} is unknown here; use {', '.join(sorted(known))}.",
                "unknown_field",
            )
    right = read(document, pointer)
    return Term(
        metric=_text(document, "metric", pointer),
        feature=_text(document, "feature", pointer),
        segment=_text(document, "segment", pointer),
        operator=_operator(document, pointer, right),
        right=right,
        pointer=pointer,
    )


def _constant(document: Mapping[str, Any], pointer: str) -> RightSide:
    return FixedThreshold(_number(document, "threshold", pointer))


def _own_limit(document: Mapping[str, Any], pointer: str) -> RightSide:
    if document["limit"] != "calibrated":
        raise invalid(f"{pointer}/limit", "The only limit is 'calibrated'; for a number use threshold.")
    return OwnLimit()


def _times_before(document: Mapping[str, Any], pointer: str) -> RightSide:
    times = _number(document, "times", pointer)
    if times <= 0:
        raise invalid(f"{pointer}/times", f"{times:g} is not above 0; 1.5 means half as much again.")
    return TimesBefore(times, _whole(document, "days_before", pointer, range(1, MAX_DAYS_BEFORE + 1)))


def _deviations_away(document: Mapping[str, Any], pointer: str) -> RightSide:
    deviations = _number(document, "deviations", pointer)
    if not 0 < deviations <= 1_000:
        raise invalid(f"{pointer}/deviations", f"{deviations:g} is not a number above 0 and up to 1,000.")
    return DeviationsAway(deviations, _whole(document, "last_windows", pointer, LAST_WINDOWS))


_RIGHT_SIDES: Mapping[str, tuple[Callable[[Mapping[str, Any], str], RightSide], tuple[str, ...]]] = {
    "threshold": (_constant, ()),
    "limit": (_own_limit, ()),
    "times": (_times_before, ("days_before",)),
    "deviations": (_deviations_away, ("last_windows",)),
}


def _operator(document: Mapping[str, Any], pointer: str, right: RightSide) -> str:
    here = f"{pointer}/operator"
    if isinstance(right, OwnLimit):
        if "operator" in document:
            raise invalid(here, "A calibrated limit has a direction of its own; leave the operator out.")
        return ""
    operator = document.get("operator", "above")
    if operator not in OPERATORS:
        raise invalid(here, f"{printable(str(operator))!r} is not one of {', '.join(OPERATORS)}.")
    return str(operator)


def _text(document: Mapping[str, Any], name: str, pointer: str) -> str:
    value = document.get(name, "")
    if not isinstance(value, str) or len(value) > MAX_NAME or not value.isprintable():
        raise invalid(f"{pointer}/{name}", f"A {name} is a text of at most {MAX_NAME} printable characters.")
    return value


def _number(document: Mapping[str, Any], name: str, pointer: str) -> float:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise invalid(f"{pointer}/{name}", f"{printable(str(value))!r} is not a finite number.")
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def _whole(document: Mapping[str, Any], name: str, pointer: str, among: range) -> int:
    here = f"{pointer}/{name}"
    if name not in document:
        raise invalid(here, f"Say {name}, a whole number from {among[0]} to {among[-1]}.", "missing_field")
    value = document[name]
    if isinstance(value, bool) or not isinstance(value, int) or value not in among:
        raise invalid(
            here, f"{printable(str(value))!r} is not a whole number from {among[0]} to {among[-1]}."
        )
    return value


def document_of(tree: ConditionTree) -> dict[str, Any]:
    """Write a tree as a document that parses to it."""
    match tree:
        case Term():
            return _document_of_term(tree)
        case NotOf():
            return {"not": document_of(tree.member)}
    name = "all" if isinstance(tree, AllOf) else "any"
    return {name: [document_of(member) for member in tree.members]}


def _document_of_term(term: Term) -> dict[str, Any]:
    written: dict[str, Any] = {"metric": term.metric}
    written |= {
        name: value
        for name, value in (("feature", term.feature), ("segment", term.segment), ("operator", term.operator))
        if value
    }
    match term.right:
        case FixedThreshold(threshold):
            return written | {"threshold": threshold}
        case OwnLimit():
            return written | {"limit": "calibrated"}
        case TimesBefore(times, days):
            return written | {"times": times, "days_before": days}
        case DeviationsAway(deviations, windows):
            return written | {"deviations": deviations, "last_windows": windows}
