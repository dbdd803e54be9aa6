"""What a reference's own days say: how far one of them lies from all the others, although nothing drifted.

Rows of one day resemble each other (weather, weekday, a campaign), so a quiet day differs from a reference of months
by far more than independent rows do. Where the reference has times, its days are counted apart and each stands in for
a window once, against the rest: if days are exchangeable, a new quiet day ranks among them as any of them does. That is
the leave-one-block-out form of conformal inference (Vovk, Gammerman and Shafer 2005; Barber et al. 2021), and the
blocks are those of the block bootstrap (Künsch 1989): runs of successive days, as many as the window has.

A run of far fewer rows than the window has, such as a day that an export cut off, stands in for none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from monitors.stats.drift.homogeneity import (
    SIGNIFICANT,
    Homogeneity,
    judge_homogeneity,
    surely_alike,
)
from monitors.stats.drift.prepared import (
    CategoricalReference,
    NumericReference,
    PreparedReference,
    count_levels,
    count_numbers,
)
from monitors.stats.mergeable.sketches import CategoricalSummary, FloatArray, IntArray, NumericSummary

MIN_DAYS = 14
# A window of more days than this share of the reference's is judged as if it had fewer: it needs enough runs.
MAX_SHARE = 0.25
_CATCHING = 0.15
# A run stands in for a window if it has this share of its rows, or of those of the middling run where that has fewer.
_MIN_SHARE_OF_ROWS = 0.5
# Of runs of more rows numpy draws none; what chance adds to as many is far below any limit.
_MAX_DRAWN_ROWS = 10**9

type DaySummary = tuple[date, Mapping[str, NumericSummary | CategoricalSummary]]


@dataclass(frozen=True, eq=False)
class Days:
    """A reference column's counts by days: a row a day, a column per cell (numeric) or bin, then missing.

    `dates` are the days' ordinals, ascending, of those that have rows. `design_effect` tells how much more they differ
    than independent rows would; `differ` is False only where they surely do not.
    """

    counts: FloatArray
    dates: IntArray
    design_effect: float
    differ: bool


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of successive days that stand in for a window: a row of counts each.

    `left_out` counts those with too few rows; `days` is how many days with rows a run has.
    """

    counts: FloatArray
    left_out: int
    days: int


def count_days(
    references: Mapping[str, PreparedReference], days: Sequence[DaySummary]
) -> dict[str, Days | None]:
    """Count each column's days, oldest first, on its reference's cells; None when fewer than 14 have rows.

    What makes rows of a day alike seldom spares a column: where more than one in seven differs from day to day, every
    column counts as differing, for in a small reference a weak effect is easily overlooked. Where fewer do, one differs
    alone only if that is no chance among so many (Bonferroni): columns that are judged by days see less. Where a column
    alone cannot tell, all of them together do.
    """
    counted = {
        name: _count_column(reference, [(day, columns[name]) for day, columns in days if name in columns])
        for name, reference in references.items()
    }
    known = [found for _, found in filter(None, counted.values())]
    catching = sum(found.differ for found in known) > _CATCHING * len(known)
    together = surely_alike(sum(one.statistic for one in known), sum(one.freedom for one in known))
    return {
        name: column
        and replace(
            column[0],
            differ=catching
            or column[1].p_value < SIGNIFICANT / len(known)
            or not (together or column[1].alike),
        )
        for name, column in counted.items()
    }


def _count_column(
    reference: PreparedReference, days: Sequence[tuple[date, NumericSummary | CategoricalSummary]]
) -> tuple[Days, Homogeneity] | None:
    """Count a column's days, and test how alike they are."""
    filled = [(day, summary) for day, summary in days if summary.rows]
    if len(filled) < MIN_DAYS:
        return None
    counts = np.array([_count(reference, summary) for _, summary in filled])
    dates = np.array([day.toordinal() for day, _ in filled])
    found = judge_homogeneity(bins_of(reference, counts), ordered=isinstance(reference, NumericReference))
    return Days(counts, dates, found.design_effect, found.differ), found


def bins_of(reference: PreparedReference, counts: FloatArray) -> FloatArray:
    """Add up rows of counts into the reference's bins."""
    return reference.bins_of(counts) if isinstance(reference, NumericReference) else counts


def _count(reference: PreparedReference, day: NumericSummary | CategoricalSummary) -> FloatArray:
    if isinstance(reference, NumericReference) and isinstance(day, NumericSummary):
        return count_numbers(day.recentred(reference.summary.centre), reference.cell_ends)
    assert isinstance(reference, CategoricalReference)
    assert isinstance(day, CategoricalSummary)
    return count_levels(day, reference.bins)


def runs_of(days: Days, n: int, length: int) -> Runs:
    """List the runs of `length` successive days that can stand in for a window of `n` rows.

    Days are those of the calendar: a run across a gap has the rows that are left of it, and too few of them to count.
    """
    length = min(max(length, 1), max(int(len(days.dates) * MAX_SHARE), 1))
    starts = np.flatnonzero(days.dates + length - 1 <= days.dates[-1])
    ends = np.searchsorted(days.dates, days.dates[starts] + length)
    up_to = np.concatenate([np.zeros((1, days.counts.shape[1])), np.cumsum(days.counts, axis=0)])
    counts = up_to[ends] - up_to[starts]
    rows = counts.sum(axis=1)
    enough = rows >= _MIN_SHARE_OF_ROWS * min(n, float(np.median(rows)))
    return Runs(counts[enough], int((~enough).sum()), int(np.median((ends - starts)[enough])))


def draw_windows(
    days: Days, runs: Runs, n: int, *, rng: np.random.Generator, draws: int
) -> tuple[FloatArray, FloatArray]:
    """Draw windows of `n` rows from a reference's own runs of days: the other days of each, and the window.

    Each run stands in for the window equally often. It gives `n` of its rows, drawn without replacement; where it has
    fewer, or too many to draw from, its shares count as `n` rows: it then keeps the noise of its own size, which errs
    on the side of calm.
    """
    rest = days.counts.sum(axis=0) - runs.counts
    rows = runs.counts.sum(axis=1)
    enough = (rows > n) & (rows < _MAX_DRAWN_ROWS)
    repeats = max(draws // len(runs.counts), 1) if enough.any() else 1
    windows = [
        rng.multivariate_hypergeometric(run.astype(np.int64), n, size=repeats, method="marginals")
        if has_enough
        else np.repeat(run[np.newaxis] * (n / run.sum()), repeats, axis=0)
        for run, has_enough in zip(runs.counts, enough, strict=True)
    ]
    return np.repeat(rest, repeats, axis=0), np.concatenate(windows).astype(np.float64)
