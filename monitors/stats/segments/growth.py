"""Which rows there are more of than in a reference: a search over segments that holds its false discoveries.

The excess of a segment is its share of the window's rows less its share of the reference's,

    excess = n / N - m / M,

which is also its harm: the share of the window's rows that are there beyond what is usual. A cell, a range or a pair of
them that grew says where a feature, or two together, drifted to; one that shrank made room for those that grew.

Rows of one hour or day resemble each other. A share's error is the larger one of two: over rows, with half a row more
of each kind so that what was never seen has one too, and over blocks of time left out one by one (as in
`performance/blocks.py`). Days differ although nothing drifts, by weekday or weather. So where the reference has three
days or more, the window's error is at least that of as many single days of the reference: the variance of their mean,
times their number, over the window's days. Few days tell little of it, and Student's t asks for more then. What is
found of all that is tried, `discovery.py` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray, IntArray
from monitors.stats.segments.conditions import RowCondition, name_of
from monitors.stats.segments.discovery import (
    RATE,
    Ranked,
    Tested,
    discover,
    freedom_of_sum,
    jackknife,
    p_value_of,
)
from monitors.stats.segments.tables import Field, RowBatch, Tables

MIN_ROWS, MAX_SHARE = 50, 0.75  # of a segment, in both periods together
MIN_BLOCKS = 3


@dataclass(frozen=True, eq=False)
class TimedRows:
    """Rows with the number of their `block` of time: hours of a window; days of a reference, or all 0 without times.

    `columns` hold texts as objects or numbers as floats.
    """

    columns: Mapping[str, NDArray[Any]]
    block: IntArray

    @property
    def loss(self) -> FloatArray:
        """What tables add up beside the rows: nothing."""
        return np.zeros(self.block.size)

    def __len__(self) -> int:
        return int(self.block.size)


@dataclass(frozen=True, slots=True)
class GrownSegment:
    """A segment that grew. `share` is its part of the window's rows, `usual` its part of the reference's.

    `excess` is what it grew by, which is also its harm; `lower` and `upper` bound that at 95 %, also after the
    selection. `p_value` is adjusted for all that was tried.
    """

    conditions: tuple[RowCondition, ...]
    n: int
    share: float
    usual: float
    excess: float
    lower: float
    upper: float
    p_value: float

    @property
    def name(self) -> str:
        return name_of(self.conditions)


@dataclass(frozen=True, slots=True)
class GrowthFindings:
    """The segments that grew, the most harmful first, of `tried` ones in `n` rows."""

    found: tuple[GrownSegment, ...]
    tried: int
    n: int


def search_growth(window: TimedRows, usual: TimedRows, *, days: float) -> GrowthFindings:
    """Find the segments that are a larger part of a window of so many `days` than of the reference's rows.

    Of those found a share of `RATE` is false, at most, as expected. They are ranked by the excess that is sure,
    its lower bound. Columns that only one of both has are left out, and so is a segment that did not grow among the
    rows outside of more harmful ones.
    """
    if not len(window) or not len(usual):
        return GrowthFindings((), 0, len(window))
    both = {name: values for name, values in window.columns.items() if name in usual.columns}
    window = TimedRows(both, window.block)
    with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is not found
        field = Field.lay_out(window, usual, least=MIN_ROWS)
        found, tried = discover(field, partial(_test, days=days), rate=RATE)
    return GrowthFindings(_grown_segments(field, found), tried, len(window))


# -- the test ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _RowShares:
    """What part of a period's rows segments are; `of_a_day` is how far single days vary, where that is known."""

    rows: float
    n: FloatArray
    value: FloatArray
    variance: FloatArray
    freedom: FloatArray
    of_a_day: FloatArray | None


def _shares(some: Tables, whole: Tables) -> _RowShares:
    n, rows = some.rows.sum(axis=1), float(whole.rows.sum())
    smooth = (n + 0.5) / (rows + 1)
    variance, freedom = smooth * (1 - smooth) / rows, np.full(n.shape, rows - 1)
    filled = whole.rows[0] > 0
    blocks = int(filled.sum())
    if blocks < MIN_BLOCKS:
        return _RowShares(rows, n, n / rows, variance, freedom, None)
    left = (n[:, None] - some.rows) / (rows - whole.rows)
    over_blocks = jackknife(left[:, filled])
    return _RowShares(
        rows,
        n,
        n / rows,
        np.maximum(variance, over_blocks),
        np.full(n.shape, blocks - 1.0),
        blocks * over_blocks,
    )


def _of_both(field: Field, batch: RowBatch) -> tuple[_RowShares, _RowShares]:
    assert batch.usual is not None
    assert field.usual_whole is not None
    return _shares(batch.window, field.whole), _shares(batch.usual, field.usual_whole)


def _test(field: Field, batch: RowBatch, *, days: float) -> Tested:
    now, before = _of_both(field, batch)
    variance, freedom = now.variance, now.freedom
    if before.of_a_day is not None:
        variance = np.maximum(variance, before.of_a_day / days)
        freedom = np.minimum(freedom, before.freedom)
    excess, together = now.value - before.value, variance + before.variance
    freedom = freedom_of_sum(variance, freedom, before.variance, before.freedom)
    n, rows = now.n + before.n, now.rows + before.rows
    return Tested(
        excess,
        np.sqrt(together),
        freedom,
        p_value_of(excess, together, freedom),
        np.ones_like(excess),
        (n >= MIN_ROWS) & (n <= MAX_SHARE * rows),
    )


def _grown_segments(field: Field, found: list[Ranked]) -> tuple[GrownSegment, ...]:
    if not found:
        return ()
    batch = field.batch_of([one.segment for one in found])
    now, before = _of_both(field, batch)
    return tuple(
        GrownSegment(
            one.conditions, int(n), float(share), float(usual), one.excess, one.lower, one.upper, one.p_value
        )
        for one, n, share, usual in zip(found, now.n.tolist(), now.value, before.value, strict=True)
    )
