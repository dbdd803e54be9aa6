"""What deriving a decision again shows."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from inference.prediction_log.encryption.sealed_chunks import LogUnreadable

TOLERANCE = 1e-6
"""Relative; sums of the same numbers in another order differ in their last digits, and float32 in its seventh."""
ROUNDING = 1e-12
"""Absolute; what such sums may leave where the number is zero. It is far below any metric that says something."""


class DerivedOutcome(StrEnum):
    EQUAL = "equal"
    DIFFERS = "differs"
    CANNOT = "cannot be derived"


@dataclass(frozen=True)
class Derivation:
    """One part of a decision: what is stored, what was derived, and why they differ or nothing could be derived."""

    what: str
    outcome: DerivedOutcome
    stored: Any = None
    derived: Any = None
    why: str = ""
    shown: str = ""
    """What is said instead of a value that is equal, where that was said before."""

    def __str__(self) -> str:
        if self.outcome != DerivedOutcome.CANNOT and _is_of_sentences(self.stored, self.derived):
            return "\n".join(self._lines())
        match self.outcome:
            case DerivedOutcome.EQUAL:
                return f"equal    {self.what}: {self.stored}"
            case DerivedOutcome.DIFFERS:
                reason = f" ({self.why})" if self.why else ""
                return f"DIFFERS  {self.what}: stored {self.stored}, derived {self.derived}{reason}"
        return f"cannot   {self.what}: {self.why}"

    def _lines(self) -> Iterator[str]:
        """Write lists of sentences, each sentence on a line of its own."""
        if self.outcome == DerivedOutcome.EQUAL:
            yield f"equal    {self.what}: {self.shown or ('' if self.stored else 'none')}".rstrip()
            yield from () if self.shown else (f"  {sentence}" for sentence in self.stored)
            return
        yield f"DIFFERS  {self.what}" + (f" ({self.why})" if self.why else "")
        for sentence in dict.fromkeys([*self.stored, *self.derived]):
            sides = [name for name in ("stored", "derived") if sentence in getattr(self, name)]
            yield f"  {sides[0] if len(sides) == 1 else 'both':<7}  {sentence}"


def _is_of_sentences(*sides: Any) -> bool:
    return all(isinstance(side, list) and all(isinstance(one, str) for one in side) for side in sides)


def cannot(what: str, why: str) -> Derivation:
    return Derivation(what, DerivedOutcome.CANNOT, why=why)


def compare(what: str, stored: Any, derived: Any, why: str = "", *, shown: str = "") -> Derivation:
    """Compare a stored value with a derived one; numbers within `TOLERANCE` of their size.

    `shown` stands in the place of sentences that are equal.
    """
    outcome = DerivedOutcome.EQUAL if is_equal(stored, derived) else DerivedOutcome.DIFFERS
    return Derivation(what, outcome, stored, derived, why, shown)


def unless_unreadable(what: str, derived: Iterable[Derivation]) -> Iterator[Derivation]:
    """Yield derivations as they are made; where stored rows cannot be read or added up, the last one says why."""
    try:
        yield from derived
    except (LogUnreadable, ValueError) as error:
        yield cannot(what, str(error))


def is_equal(stored: Any, derived: Any) -> bool:
    """Return whether two plain values are the same, lists part by part.

    >>> is_equal([0.1, None], [0.10000000001, None]), is_equal("1", "0"), is_equal(2e-7, 4e-7)
    (True, False, False)
    """
    if isinstance(stored, list | tuple) and isinstance(derived, list | tuple):
        return len(stored) == len(derived) and all(map(is_equal, stored, derived))
    if isinstance(stored, int | float) and isinstance(derived, int | float):
        both_nan = math.isnan(stored) and math.isnan(derived)
        return both_nan or math.isclose(stored, derived, rel_tol=TOLERANCE, abs_tol=ROUNDING)
    return bool(stored == derived)
