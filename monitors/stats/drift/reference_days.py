"""What a reference's own days say: how far one of them lies from all the others, although nothing drifted.

Rows of one day resemble each other (weather, weekday, a campaign), so a quiet day differs from a reference of months
by far more than independent rows do. Where the reference has times, its days are counted apart and each stands in for
a window once, against the rest: if days are exchangeable, a new quiet day ranks among them as any of them does. That is
the leave-one-block-out form of conformal inference (Vovk, Gammerman and Shafer 2005; Barber et al. 2021), and the
blocks are those of the block bootstrap (Künsch 1989): runs of successive days, as many as the window has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from monitors.stats.drift.prepared import (
    CategoricalReference,
    NumericReference,
    PreparedReference,
    count_levels,
    count_numbers,
)
from monitors.stats.mergeable.sketches import CategoricalSummary, FloatArray, NumericSummary

MIN_DAYS = 14
# A window of more days than this share of the reference's is judged as if it had fewer: it needs enough runs.
MAX_SHARE = 0.25
# Days count as alike unless the chance of counts so different is below this.
_ALIKE = 0.01
_CATCHING = 0.1
_MIN_EXPECTED = 1.0


@dataclass(frozen=True, eq=False)
class Days:
    """A reference column's counts by successive days: a row a day, a column per cell (numeric) or bin, then missing.

    `design_effect` is the chi-square statistic of the days' homogeneity over its degrees of freedom: 1 when rows are
    independent, 1 + (m - 1) ICC for days of m rows with the intraclass correlation ICC (Kish 1965; Rao and Scott
    1981).
    """

    counts: FloatArray
    design_effect: float
    differ: bool


def count_days(
    references: Mapping[str, PreparedReference],
    days: Sequence[Mapping[str, NumericSummary | CategoricalSummary]],
) -> dict[str, Days | None]:
    """Count each column's days on its reference's cells; None when fewer than 14 have rows.

    What makes rows of a day alike seldom spares a column: where more than a tenth of all columns differ from day to
    day, every column counts as differing, for in a small reference a weak effect is easily overlooked.
    """
    counted = {
        name: _count_column(reference, [day[name] for day in days if name in day])
        for name, reference in references.items()
    }
    known = [column for column in counted.values() if column is not None]
    if sum(column.differ for column in known) <= _CATCHING * len(known):
        return counted
    return {
        name: None if column is None else replace(column, differ=True) for name, column in counted.items()
    }


def _count_column(
    reference: PreparedReference, days: Sequence[NumericSummary | CategoricalSummary]
) -> Days | None:
    filled = [day for day in days if day.rows]
    if len(filled) < MIN_DAYS:
        return None
    counts = np.array([_count(reference, day) for day in filled])
    bins = reference.bins_of(counts) if isinstance(reference, NumericReference) else counts
    statistic, freedom = _homogeneity(bins)
    differ = freedom > 0 and float(special.chdtrc(freedom, statistic)) < _ALIKE
    return Days(counts, statistic / freedom if freedom else 1.0, differ)


def _count(reference: PreparedReference, day: NumericSummary | CategoricalSummary) -> FloatArray:
    if isinstance(reference, NumericReference) and isinstance(day, NumericSummary):
        return count_numbers(day.recentred(reference.summary.centre), reference.cell_ends)
    assert isinstance(reference, CategoricalReference)
    assert isinstance(day, CategoricalSummary)
    return count_levels(day, reference.bins)


def _homogeneity(bins: FloatArray) -> tuple[float, int]:
    """Pearson's statistic of the days' table and its degrees of freedom; rare bins count together."""
    smallest, total = bins.sum(axis=1).min(), bins.sum()
    rare = bins.sum(axis=0) / total * smallest < _MIN_EXPECTED
    table = np.column_stack([bins[:, ~rare], bins[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / total
    return float(((table - expected) ** 2 / expected).sum()), (table.shape[0] - 1) * (table.shape[1] - 1)


def draw_windows(
    days: Days, n: int, length: int, *, rng: np.random.Generator, draws: int
) -> tuple[FloatArray, FloatArray, int]:
    """Draw windows of `n` rows and `length` days from a reference's own days: the other days, the window, the runs.

    Each run of `length` successive days stands in for the window equally often. It gives `n` of its rows, drawn
    without replacement; where it has fewer, its shares count as `n` rows, once: it then keeps the noise of its own
    size, which errs on the side of calm.
    """
    length = min(max(length, 1), max(int(len(days.counts) * MAX_SHARE), 1))
    up_to = np.concatenate([np.zeros((1, days.counts.shape[1])), np.cumsum(days.counts, axis=0)])
    runs = up_to[length:] - up_to[:-length]
    rest = days.counts.sum(axis=0) - runs
    repeats = max(draws // len(runs), 1)
    windows, others = [], []
    for run, other in zip(runs, rest, strict=True):
        enough = run.sum() > n
        window = (
            rng.multivariate_hypergeometric(run.astype(np.int64), n, size=repeats, method="marginals")
            if enough
            else run[np.newaxis] * (n / run.sum())
        )
        windows.append(window.astype(np.float64))
        others.append(np.repeat(other[np.newaxis], len(window), axis=0))
    return np.concatenate(others), np.concatenate(windows), len(runs)
