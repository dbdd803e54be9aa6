"""How far a difference must lie from nothing so that chance reaches it seldom at any look, however many there are.

Pairs come one after another up to a largest number, and somebody may look after each. Of differences that are none one
of twelve would pass a fixed limit of 1.96 standard errors (docs/measurements/gate.md). Here three boundaries share the
chance of error:

- one that is high at first and falls: c / sqrt(t) at the share t of all pairs (O'Brien and Fleming). A sum of pairs
  passes c at some time with twice the chance of doing so at the end (the reflection principle);
- a constant one from the first look on, which lets a clear difference end early. Its chance is Siegmund's
  approximation (Sequential Analysis, 1985, chapter 4);
- that of the last look, which finds a difference nearly as often as if nobody had looked before.

Their chances add up to more than there is to share, as most sums that pass the last one have passed the first:
together chance passes them as often as they say or a little less, at two looks as at 1,500 (simulated; the tests repeat
it at 100). Jennison and Turnbull (Group Sequential Methods, 2000) treat the first two, and the step from normal to
Student's quantiles.
"""

from dataclasses import dataclass
from functools import cache
from math import exp, log, pi, sqrt

import scipy

FALLING_SHARE, CONSTANT_SHARE, LAST_SHARE = 0.8, 0.05, 0.8
"""The part of the chance of error that each boundary would have alone."""


@dataclass(frozen=True, slots=True)
class Looks:
    """How many pairs the first and the last look have; between them any number of looks may lie."""

    first: int
    last: int


def tail_at(pairs: int, confidence: float, looks: Looks | None) -> float:
    """Return the chance beyond each bound of an interval at this look, as a fixed interval has it.

    Intervals at all `looks` together hold with `confidence`; without looks, this one alone does.

    >>> round(tail_at(2_000, 0.9, None), 3)
    0.05
    >>> [round(tail_at(pairs, 0.9, Looks(2_000, 6_000)), 4) for pairs in (2_000, 4_000, 6_000)]
    [0.0003, 0.0059, 0.04]
    """
    tail = (1 - confidence) / 2
    if looks is None:
        return tail
    if pairs >= looks.last:
        return tail * LAST_SHARE
    falling = (
        -scipy.special.ndtri(tail * FALLING_SHARE / 2) / sqrt(pairs / looks.last) if pairs else float("inf")
    )
    if pairs >= looks.first:  # the constant one says nothing of looks before the first
        falling = min(falling, constant_boundary(tail * CONSTANT_SHARE, looks.first / looks.last))
    return float(scipy.special.ndtr(-falling))


@cache
def constant_boundary(chance: float, first_share: float) -> float:
    """Return what the standardised sum passes between `first_share` of all pairs and all with this chance."""
    low, high = 1.0, 40.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if chance_of_passing(middle, first_share) > chance else (low, middle)
    return high


def chance_of_passing(boundary: float, first_share: float) -> float:
    """Return how likely a standardised sum passes a constant boundary, by Siegmund's approximation (one side)."""
    density = exp(-(boundary**2) / 2) / sqrt(2 * pi)
    return density * ((boundary - 1 / boundary) * log(1 / first_share) / 2 + 2 / boundary)
