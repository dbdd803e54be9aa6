"""Thresholds that know how many rows a window has, and the correction for looking at many features at once.

A fixed 0.1 alarms falsely on small windows and sleeps on large ones. Here the null distribution of every
kernel is resampled from the reference: both a reference and a window of their real sizes are drawn from the
reference's own distribution and compared, as if nothing had drifted. It depends on the window only through
its number of rows, which is rounded down to a log-spaced grid: callers keep one `NullDistributions` per
feature and `grid_size(n)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitors.stats.distances import (
    KERNELS,
    NumericReference,
    PreparedReference,
    Resampled,
    kernels_for,
    kind_of,
)
from monitors.stats.sketches import FloatArray, IntArray

DRAWS = 500
SIZES_PER_DECADE = 12
LEAST_SIZE = 10

# Cells for resampling distribution functions: even 128ths, then ever finer ones into both tails, where
# heavy-tailed columns keep much of their Wasserstein distance.
_TAILS = 2.0 ** -np.arange(8, 21)
_CELL_LEVELS = np.unique(np.concatenate([np.arange(1, 128) / 128, _TAILS, 1 - _TAILS]))
# Beyond this share of draws the tail of the null distribution is taken to fall exponentially.
_TAIL_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Threshold:
    """The value from which a statistic counts as drift, and a sentence that says why it lies there."""

    value: float
    reason: str


@dataclass(frozen=True, eq=False, slots=True)
class NullDistributions:
    """What each kernel's statistic does when nothing drifts, at `n` rows: ascending draws by kernel name."""

    n: int
    n_reference: int
    draws: dict[str, FloatArray]

    def threshold(self, kernel: str, *, quantile: float = 0.99) -> Threshold:
        """Place the threshold at a quantile of the null distribution, never below the effect floor."""
        null, share = float(np.quantile(self.draws[kernel], quantile)), f"{1 - quantile:.1%}"
        floor = KERNELS[kernel].effect_floor(self.n_reference, self.n)
        if null >= floor:
            return Threshold(
                null,
                f"At {self.n} rows {kernel} exceeds {null:.3g} in {share} of windows without drift.",
            )
        return Threshold(
            floor,
            f"Effects below {floor:.3g} do not matter; at {self.n} rows {kernel} exceeds {null:.3g} in "
            f"{share} of windows without drift.",
        )

    def p_value(self, kernel: str, value: float) -> float:
        """Estimate how often a window without drift shows at least `value`.

        Inside the draws it is their share (never 0); in the outer tenth an exponential tail with the draws'
        mean excess continues it, so that a p-value can be as small as a correction for many features needs.
        """
        draws = self.draws[kernel]
        reached = draws.size - int(np.searchsorted(draws, value, side="left"))
        share = (reached + 1) / (draws.size + 1)
        tail = draws[int(draws.size * (1 - _TAIL_SHARE)) :]
        excess = float(tail.mean() - tail[0])
        if value <= tail[0] or excess <= 0:
            return share
        return min(share, float(_TAIL_SHARE * np.exp(-(value - tail[0]) / excess)))

    def to_builtins(self) -> dict[str, Any]:
        """Give a JSON-able form, for a cache."""
        draws = {name: values.tolist() for name, values in self.draws.items()}
        return {"n": self.n, "n_reference": self.n_reference, "draws": draws}

    @classmethod
    def from_builtins(cls, stored: Mapping[str, Any]) -> NullDistributions:
        """Restore what `to_builtins` gave."""
        draws = {name: np.asarray(values, dtype=np.float64) for name, values in stored["draws"].items()}
        return cls(n=stored["n"], n_reference=stored["n_reference"], draws=draws)


def grid_size(n: int) -> int:
    """Round a window's rows down to the log-spaced grid (12 sizes a decade): fewer rows, a wider threshold.

    >>> grid_size(923), grid_size(1000), grid_size(3)
    (826, 1000, 10)
    """
    if n <= LEAST_SIZE:
        return LEAST_SIZE
    step = int(np.floor(np.log10(n) * SIZES_PER_DECADE + 1e-9))
    return int(np.ceil(10 ** (step / SIZES_PER_DECADE) - 1e-6))


def resample_null(
    reference: PreparedReference, n: int, *, rng: np.random.Generator, draws: int = DRAWS
) -> NullDistributions:
    """Draw the null distribution of every kernel that applies to `reference`, for windows of `n` rows.

    `n` counts all rows, missing ones included, as the reference's shares do. The same `rng` state gives the
    same result.
    """
    rows = int(reference.bin_counts.sum())
    kernels = kernels_for(kind_of(reference))
    if not rows or n <= 0:
        return NullDistributions(n, rows, {kernel.name: np.zeros(draws) for kernel in kernels})
    resampled = _resample(reference, rows, n, rng=rng, draws=draws)
    return NullDistributions(
        n, rows, {kernel.name: np.sort(kernel.measure_draws(resampled)) for kernel in kernels}
    )


def _resample(
    reference: PreparedReference, rows: int, n: int, *, rng: np.random.Generator, draws: int
) -> Resampled:
    if not isinstance(reference, NumericReference):
        shares = reference.bin_counts / rows
        nothing = np.empty((draws, 0))
        return Resampled(
            _draw(rows, shares, rng, draws), _draw(n, shares, rng, draws), nothing, nothing, np.empty(0), 1.0
        )
    cell_counts, cell_offsets, bin_starts = _coarse_cells(reference)
    shares = np.append(cell_counts, reference.bin_counts[-1]) / rows
    drawn_reference, drawn_current = _draw(rows, shares, rng, draws), _draw(n, shares, rng, draws)
    return Resampled(
        _bins_of(drawn_reference, bin_starts), _bins_of(drawn_current, bin_starts),
        drawn_reference[:, :-1], drawn_current[:, :-1], cell_offsets, reference.scale,
    )  # fmt: skip


def _draw(n: int, shares: FloatArray, rng: np.random.Generator, draws: int) -> FloatArray:
    return rng.multinomial(n, shares / shares.sum(), size=draws).astype(np.float64)


def _coarse_cells(reference: NumericReference) -> tuple[IntArray, FloatArray, IntArray]:
    """Join grid cells into coarser ones that nest in the bins: counts, mean offsets, first cell of each bin."""
    summary = reference.summary
    if not summary.n:
        return np.empty(0, dtype=np.int64), np.empty(0), np.zeros(1, dtype=np.int64)
    up_to = np.cumsum(summary.counts)
    by_level = np.searchsorted(up_to, summary.n * _CELL_LEVELS) + 1
    by_bin = np.searchsorted(summary.keys, reference.bin_ends, side="right")
    starts = np.unique(np.concatenate([[0], by_level, by_bin]))
    starts = starts[starts < summary.keys.size]
    counts = np.add.reduceat(summary.counts, starts)
    offsets = np.add.reduceat(summary.sums, starts) / counts
    # A bin that the reference leaves empty starts where the next one does, and draws nothing.
    bin_starts = np.searchsorted(starts, np.concatenate([[0], by_bin]))
    return counts, offsets, bin_starts


def _bins_of(cells: FloatArray, bin_starts: IntArray) -> FloatArray:
    """Sum cells into bins; the last column, missing values, stays a bin of its own."""
    up_to = np.concatenate([np.zeros((len(cells), 1)), np.cumsum(cells[:, :-1], axis=1)], axis=1)
    edges = np.append(bin_starts, cells.shape[1] - 1)
    return np.concatenate([np.diff(up_to[:, edges], axis=1), cells[:, -1:]], axis=1)


def benjamini_hochberg(p_values: Sequence[float] | FloatArray, q: float) -> list[bool]:
    """Say which hypotheses to reject so that at most a share `q` of the rejected ones is expected to be false.

    >>> benjamini_hochberg([0.001, 0.04, 0.03, 0.9], 0.05)
    [True, False, False, False]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not p.size:
        return []
    order = np.argsort(p, kind="stable")
    passing = np.flatnonzero(p[order] <= q * np.arange(1, p.size + 1) / p.size)
    cut = p[order][passing[-1]] if passing.size else -1.0
    return [bool(value <= cut) for value in p]
