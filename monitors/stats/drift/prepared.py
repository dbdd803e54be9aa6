"""References made ready for comparisons: their bins and cells are worked out once and used for every window.

Bins are few and carry `psi`, `js`, `tv` and `chi_square`. Cells are finer ones of a numeric column that nest in the
bins: null distributions are drawn on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitors.stats.mergeable.sketches import (
    CategoricalSummary,
    FloatArray,
    IntArray,
    KeyArray,
    NumericSummary,
)

QUANTILE_BINS = 10
# A categorical reference keeps its most frequent levels as bins. The others share one with levels that it does not
# know: a fresh sample always holds as many new levels as the reference has levels seen once (Good and Turing).
CATEGORY_BINS = 255
# Even 128ths, then ever finer cells into both tails, where heavy-tailed columns keep much of their Wasserstein
# distance.
_TAILS = 2.0 ** -np.arange(8, 21)
_CELL_LEVELS = np.unique(np.concatenate([np.arange(1, 128) / 128, _TAILS, 1 - _TAILS]))


@dataclass(frozen=True, eq=False)
class NumericReference:
    """A numeric reference, ready for comparisons.

    `bin_ends` and `cell_ends` are the last grid keys of all bins and cells but the last. `bin_counts` and
    `cell_counts` have one more entry than there are bins and cells: missing and infinite values. `bin_starts` are
    the first cells of the bins, `cell_offsets` the cells' mean values around the centre. `scale` is the standard
    deviation that Wasserstein is divided by.
    """

    summary: NumericSummary
    bin_ends: KeyArray
    bin_counts: FloatArray
    cell_ends: KeyArray
    cell_counts: FloatArray
    cell_offsets: FloatArray
    bin_starts: IntArray
    scale: float

    def bins_of(self, cells: FloatArray) -> FloatArray:
        """Add up a row of cell counts per draw into bins; the last column, missing values, stays one of its own."""
        up_to = np.concatenate([np.zeros((len(cells), 1)), np.cumsum(cells[:, :-1], axis=1)], axis=1)
        edges = np.append(self.bin_starts, cells.shape[1] - 1)
        return np.concatenate([np.diff(up_to[:, edges], axis=1), cells[:, -1:]], axis=1)


@dataclass(frozen=True, eq=False)
class CategoricalReference:
    """A categorical reference, ready for comparisons.

    `bin_counts` holds the frequent levels in the order of `bins`, then all other levels, then missing values.
    """

    summary: CategoricalSummary
    bins: dict[str, int]
    bin_counts: FloatArray


PreparedReference = NumericReference | CategoricalReference


def prepare_reference(summary: NumericSummary | CategoricalSummary) -> PreparedReference:
    """Work out once what every comparison with this reference needs."""
    if isinstance(summary, NumericSummary):
        return _prepare_numbers(summary)
    repeated = [level for level, count in summary.counts.items() if count > 1]
    frequent = sorted(repeated, key=lambda level: (-summary.counts[level], level))[:CATEGORY_BINS]
    bins = {level: position for position, level in enumerate(frequent)}
    return CategoricalReference(summary, bins, count_levels(summary, bins))


def _prepare_numbers(summary: NumericSummary) -> NumericReference:
    bin_ends = _quantile_bin_ends(summary)
    by_bin = np.searchsorted(summary.keys, bin_ends, side="right")
    starts = _cell_starts(summary, by_bin)
    cell_ends = (summary.keys[starts[1:]].astype(np.int64) - 1).astype(np.uint16)
    counts = np.add.reduceat(summary.counts, starts) if starts.size else np.empty(0)
    return NumericReference(
        summary=summary,
        bin_ends=bin_ends,
        bin_counts=count_numbers(summary, bin_ends),
        cell_ends=cell_ends,
        cell_counts=count_numbers(summary, cell_ends),
        cell_offsets=np.add.reduceat(summary.sums, starts) / counts if starts.size else np.zeros(1),
        # A bin that the reference leaves empty starts where the next one does, and draws nothing.
        bin_starts=np.searchsorted(starts, np.concatenate([[0], by_bin])),
        scale=_scale(summary),
    )


def _cell_starts(summary: NumericSummary, by_bin: IntArray) -> IntArray:
    """Choose where the cells begin among the summary's occupied grid cells."""
    if not summary.n:
        return np.empty(0, dtype=np.int64)
    by_level = np.searchsorted(np.cumsum(summary.counts), summary.n * _CELL_LEVELS) + 1
    starts = np.unique(np.concatenate([[0], by_level, by_bin]))
    return starts[starts < summary.keys.size]


def _quantile_bin_ends(summary: NumericSummary) -> KeyArray:
    if not summary.n:
        return summary.keys
    targets = summary.n * np.arange(1, QUANTILE_BINS) / QUANTILE_BINS
    ends = summary.keys[np.searchsorted(np.cumsum(summary.counts), targets)].astype(np.int64)
    distinct, repeats = np.unique(ends, return_counts=True)
    # A cell that holds several quantiles gets a bin of its own: what is below it must not hide in it.
    return np.union1d(distinct, np.maximum(distinct[repeats > 1] - 1, 0)).astype(np.uint16)


def _scale(summary: NumericSummary) -> float:
    spread = summary.std
    if spread > 0:
        return spread
    # A constant reference has no spread to measure by: a thousandth of its size stands in.
    return 1e-3 * max(abs(summary.mean), 1.0) if summary.n else 1.0


def count_numbers(summary: NumericSummary, ends: KeyArray) -> FloatArray:
    """Count a column's values up to each of the ascending keys `ends`, then the rest, then what is missing."""
    up_to = np.concatenate([[0], np.cumsum(summary.counts)])
    inner = up_to[np.searchsorted(summary.keys, ends, side="right")]
    absent = summary.n + summary.missing + summary.infinite
    return np.diff(np.concatenate([[0], inner, [summary.n, absent]])).astype(np.float64)


def count_levels(summary: CategoricalSummary, bins: dict[str, int]) -> FloatArray:
    """Count a column's values of each level of `bins`, then all others, then what is missing."""
    counted = [summary.counts.get(level, 0) for level in bins]
    return np.array([*counted, summary.n - sum(counted), summary.missing], dtype=np.float64)
