"""Which of many tested segments are found, whatever they were tested for: their false discoveries are held.

Benjamini and Hochberg (1995) hold the false discovery rate over all that is tried, single columns and pairs with half
of the weight each (Genovese, Roeder and Wasserman, Biometrika 93, 2006). Intervals are those of Benjamini and
Yekutieli (JASA 100, 2005) for parameters that a selection chose: one lies above 0 wherever its segment is found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.segments.conditions import RowCondition
from monitors.stats.segments.tables import CandidateSegment, Field, RowBatch, paired_segments, single_segments

RATE = 0.05
MAX_PAIRED_COLUMNS = 24
MAX_RANKED_SEGMENTS, MAX_FOUND_SEGMENTS = 200, 10


@dataclass(frozen=True, eq=False)
class Tested:
    """What a test says of segments, a row each: by how much each is beyond what is usual.

    `harm` is what an excess of 1 does, so that they can be ranked. `is_tried` tells which have enough rows.
    """

    excess: FloatArray
    error: FloatArray
    freedom: FloatArray
    p_value: FloatArray  # 1 where it says nothing
    harm: FloatArray
    is_tried: NDArray[np.bool_]


type Test = Callable[[Field, RowBatch], Tested]


@dataclass(frozen=True, slots=True)
class Discovery:
    """A segment that was tested; `weight` times its p-value is what is compared across all that were tried."""

    segment: CandidateSegment
    excess: float
    error: float
    freedom: float
    p_value: float
    harm: float
    weight: float

    def half(self, rate: float) -> float:
        """Return half of the interval that lies above 0 wherever the weighted p-value is below `rate`."""
        return -float(scipy.special.stdtrit(self.freedom, rate / self.weight)) * self.error

    def sure_harm(self, rate: float) -> float:
        """Return the harm at the lower end of that interval."""
        return (self.excess - self.half(rate)) * self.harm


@dataclass(frozen=True, slots=True)
class Ranked:
    """A found segment: its interval at 95 %, also after the selection, and its p-value, adjusted for all tried ones."""

    segment: CandidateSegment
    conditions: tuple[RowCondition, ...]
    excess: float
    lower: float
    upper: float
    p_value: float


def discover(
    field: Field, test: Test, *, rate: float, most_paired: int = MAX_PAIRED_COLUMNS
) -> tuple[list[Ranked], int]:
    """Test all segments and give those that are found, the most harmful first, and how many were tried.

    `rate` is the expected share of false ones among those found, at most. The order is that of the harm that is sure.
    One that is no longer found once the rows of more harmful ones are set aside is left out.
    """
    families = [
        _tried(field, batches, test)
        for batches in (single_segments(field), paired_segments(field, most_paired))
    ]
    tried = sum(count for _, count in families)
    discovered = _discovered([one for promising, _ in families for one in promising], rate)
    return _ranked(field, _without_subsumed(field, discovered, test, rate), rate), tried


def _tried(field: Field, batches: Sequence[RowBatch], test: Test) -> tuple[list[Discovery], int]:
    """Test one of the two families; returns those with some chance to be found, and how many were tried."""
    tested = [(batch, test(field, batch)) for batch in batches]
    count = sum(int(tested_batch.is_tried.sum()) for _, tested_batch in tested)
    promising = [
        _row(batch.segments[place], tested_batch, place, 2.0 * count)
        for batch, tested_batch in tested
        for place in np.flatnonzero(tested_batch.is_tried & (tested_batch.p_value < 0.5)).tolist()
    ]
    return promising, count


def _row(segment: CandidateSegment, tested_batch: Tested, place: int, weight: float) -> Discovery:
    return Discovery(
        segment,
        excess=float(tested_batch.excess[place]),
        error=float(tested_batch.error[place]),
        freedom=float(tested_batch.freedom[place]),
        p_value=float(tested_batch.p_value[place]),
        harm=float(tested_batch.harm[place]),
        weight=weight,
    )


def _discovered(tried: Sequence[Discovery], rate: float) -> list[Discovery]:
    """Keep what Benjamini and Hochberg keep, by weighted p-values: the most whose largest is within rate times them."""
    ordered = sorted(tried, key=lambda one: one.p_value * one.weight)
    kept = [k for k, one in enumerate(ordered, 1) if one.p_value * one.weight <= rate * k]
    return ordered[: kept[-1] if kept else 0]


def _without_subsumed(
    field: Field, discovered: Sequence[Discovery], test: Test, rate: float
) -> list[Discovery]:
    """Keep, from the most harmful on, what is still found in the rows that those before it leave.

    Segments that overlap a bad one are bad with it and would make the search sure of chance ones too: the rate is held
    once more over those that are left.
    """
    ranked = sorted(discovered, key=lambda one: (-one.sure_harm(rate), one.segment.ranges))
    kept: list[Discovery] = []
    rest = field
    for one in ranked[:MAX_RANKED_SEGMENTS]:
        if len(kept) == MAX_FOUND_SEGMENTS:
            break
        if not kept or _is_found(rest, one, test, rate * (len(kept) + 1)):
            kept.append(one)
            rest = field.without([found.segment for found in kept])
    return _discovered(kept, rate)


def _is_found(field: Field, one: Discovery, test: Test, rate: float) -> bool:
    tested_batch = test(field, field.batch_of([one.segment]))
    return bool(tested_batch.is_tried[0] and tested_batch.p_value[0] * one.weight <= rate)


def _ranked(field: Field, found: Sequence[Discovery], rate: float) -> list[Ranked]:
    """Write what is left, by p-value, with intervals for as many, the most harmful first."""
    rate = rate * len(found)
    adjusted = [one.p_value * one.weight / k for k, one in enumerate(found, 1)]
    order = sorted(
        range(len(found)), key=lambda place: (-found[place].sure_harm(rate), found[place].segment.ranges)
    )
    return [
        Ranked(
            found[place].segment,
            field.conditions_of(found[place].segment),
            found[place].excess,
            found[place].excess - found[place].half(rate),
            found[place].excess + found[place].half(rate),
            min(adjusted[place:]),
        )
        for place in order
    ]


# -- tests -------------------------------------------------------------------------------------------------------------
def p_value_of(value: FloatArray, variance: FloatArray, freedom: FloatArray) -> FloatArray:
    """Return how probable so much would be without any (Student's t, one-sided)."""
    p: FloatArray = scipy.special.stdtr(freedom, -value / np.sqrt(variance))
    return np.where(np.isfinite(p), p, 1.0)


def freedom_of_sum(one: FloatArray, its: FloatArray, other: FloatArray, others: FloatArray) -> FloatArray:
    """Return the degrees of freedom of a sum of two variances (Welch and Satterthwaite)."""
    freedom: FloatArray = (one + other) ** 2 / (one**2 / its + other**2 / others)
    return freedom


def jackknife(moved: FloatArray) -> FloatArray:
    """Estimate a variance from how far an estimate moves without each block, a row each estimate."""
    blocks = moved.shape[1]
    squares: FloatArray = ((moved - moved.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return (blocks - 1) / blocks * squares
