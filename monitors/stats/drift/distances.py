"""How far a window moved from its reference: one kernel per statistic, all computed from summaries.

A reference is prepared once; judging one more window against it costs a fraction of a millisecond:

>>> from monitors.stats.drift.prepared import prepare_reference
>>> from monitors.stats.mergeable.sketches import summarise_numbers
>>> reference = prepare_reference(summarise_numbers(range(1000), centre=500.0))
>>> pair = compare(reference, summarise_numbers(range(250, 1250), centre=500.0))
>>> round(KERNELS["ks"].measure(pair).value, 3)
0.25

Conventions. A column without any value on one side gives 0 with a p-value of 1: there is nothing to say, and
the caller reports "no data". `psi`, `js`, `tv` and `chi_square` see missing values as a bin of their own; `ks`,
`wasserstein` and `anderson_darling` look at the finite values alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
from numpy.typing import NDArray

from monitors.stats.drift.prepared import (
    CategoricalReference,
    NumericReference,
    PreparedReference,
    count_levels,
    count_numbers,
)
from monitors.stats.mergeable.sketches import (
    CategoricalSummary,
    FloatArray,
    IntArray,
    NumericSummary,
    Steps,
    steps_of,
)

NUMERIC, CATEGORICAL = "numeric", "categorical"

# The usual rule for chi-square: a cell expected to hold fewer rows joins the other rare ones.
MIN_EXPECTED = 5.0


@dataclass(frozen=True, slots=True)
class Statistic:
    """A kernel's number, with an asymptotic p-value where the kernel is a test."""

    value: float
    p_value: float | None = None


@dataclass(frozen=True, eq=False)
class NumericPair:
    """A numeric window beside its reference; what several kernels need is computed once."""

    reference: NumericReference
    current: NumericSummary

    @property
    def reference_bins(self) -> FloatArray:
        return self.reference.bin_counts

    @cached_property
    def current_bins(self) -> FloatArray:
        return count_numbers(self.current, self.reference.bin_ends)

    @property
    def comparable(self) -> bool:
        """Whether both sides hold finite values."""
        return self.reference.summary.n > 0 and self.current.n > 0

    @cached_property
    def _sides(self) -> tuple[Steps, Steps]:
        return steps_of(self.reference.summary, self.current, as_float32=True)

    @cached_property
    def _order(self) -> IntArray:
        return np.argsort(np.concatenate([side.positions for side in self._sides]), kind="stable")

    @cached_property
    def _merged(self) -> tuple[FloatArray, FloatArray, NDArray[np.bool]]:
        """Both columns' steps in one order: positions, difference of the distributions after each, end of its ties."""
        (reference, current), n_reference, n = self._sides, self.reference.summary.n, self.current.n
        positions = np.concatenate([reference.positions, current.positions])
        # Counts times the other side's n: whole numbers, so that equal distributions differ by exactly 0.
        steps = np.concatenate([reference.counts * float(n), current.counts * float(-n_reference)])
        gaps = np.cumsum(steps[self._order]) / (float(n_reference) * float(n))
        ids = np.concatenate([reference.ids, current.ids])[self._order]
        return positions[self._order], gaps, np.concatenate([ids[1:] != ids[:-1], [True]])

    def gaps(self) -> tuple[FloatArray, FloatArray]:
        """The difference of the distribution functions after each step, and the rows of both up to there."""
        _, gaps, is_end = self._merged
        rows = np.cumsum(np.concatenate([side.counts for side in self._sides])[self._order])
        return gaps[is_end], rows[is_end]

    def largest_gap(self) -> float:
        """The largest difference between the two distribution functions."""
        _, gaps, is_end = self._merged
        return float(np.abs(gaps[is_end]).max())

    def area_between(self) -> float:
        """The area between the two distribution functions, in the column's unit."""
        positions, gaps, _ = self._merged
        return float(np.abs(gaps[:-1]) @ np.diff(positions))


@dataclass(frozen=True, eq=False)
class CategoricalPair:
    """A categorical window beside its reference."""

    reference: CategoricalReference
    current: CategoricalSummary

    @property
    def reference_bins(self) -> FloatArray:
        return self.reference.bin_counts

    @cached_property
    def current_bins(self) -> FloatArray:
        return count_levels(self.current, self.reference.bins)


Pair = NumericPair | CategoricalPair


class KindMismatch(ValueError):
    """A numeric column was compared with a categorical reference, or the reverse."""


def compare(reference: PreparedReference, current: NumericSummary | CategoricalSummary) -> Pair:
    """Set a window beside its prepared reference; raises `KindMismatch`."""
    if isinstance(reference, NumericReference) and isinstance(current, NumericSummary):
        return NumericPair(reference, current.recentred(reference.summary.centre))
    if isinstance(reference, CategoricalReference) and isinstance(current, CategoricalSummary):
        return CategoricalPair(reference, current)
    raise KindMismatch(
        f"The reference is a {type(reference).__name__} but the window is a {type(current).__name__}; "
        "upload a reference whose columns have the types of the version's signature."
    )


@dataclass(frozen=True, eq=False, slots=True)
class Resampled:
    """Draws of a reference and a window from one distribution: a row per draw, a column per bin or cell.

    `cells` are finer than `bins` and leave missing values out; they are empty for a categorical column.
    """

    reference_bins: FloatArray
    current_bins: FloatArray
    reference_cells: FloatArray
    current_cells: FloatArray
    cell_offsets: FloatArray
    scale: float


@dataclass(frozen=True, slots=True)
class Kernel:
    """A drift statistic: larger is worse.

    `measure` compares a window with its reference; `measure_draws` gives the same statistic for every draw
    of a resampling, from which thresholds are calibrated; `effect_floor(n_reference, n)` is the smallest
    value worth an alarm, however surely it differs from 0.
    """

    name: str
    applies_to: frozenset[str]
    measure: Callable[[Pair], Statistic]
    measure_draws: Callable[[Resampled], FloatArray]
    effect_floor: Callable[[int, int], float]


def population_stability_index(pair: Pair) -> Statistic:
    """Measure how far the window's shares moved: sum of (r - c) ln(r / c) over the reference's bins.

    Numeric bins are the reference's tenths; a bin empty on one side counts half a row there, so the result is
    finite; 0 when the shares are equal.
    """
    return Statistic(float(_psi(pair.reference_bins, pair.current_bins)))


def jensen_shannon_distance(pair: Pair) -> Statistic:
    """Measure the Jensen-Shannon distance: the square root of the divergence in base 2, from 0 to 1.

    Bins are those of `population_stability_index`. (scipy and Evidently use base e: divide theirs by the
    square root of ln 2, 0.8326.)
    """
    return Statistic(float(_js(pair.reference_bins, pair.current_bins)))


def kolmogorov_smirnov(pair: Pair) -> Statistic:
    """Measure the largest gap between the two distribution functions, with its two-sided asymptotic p-value.

    Stephens' (1970) correction of the effective sample size brings the limit law close to the exact p-value.
    """
    assert isinstance(pair, NumericPair)
    if not pair.comparable:
        return Statistic(0.0, 1.0)
    gap = pair.largest_gap()
    root = np.sqrt(_effective_n(float(pair.reference.summary.n), float(pair.current.n)))
    return Statistic(gap, float(scipy.special.kolmogorov(gap * (root + 0.12 + 0.11 / root))))


def wasserstein_normalised(pair: Pair) -> Statistic:
    """Measure the area between the two distribution functions, in standard deviations of the reference."""
    assert isinstance(pair, NumericPair)
    return Statistic(pair.area_between() / pair.reference.scale if pair.comparable else 0.0)


def anderson_darling_distance(pair: Pair) -> Statistic:
    """Measure the gap between the distribution functions where it is weighed most in both tails.

    The square root of the mean of (F - G)^2 / (H (1 - H)) over the rows of both sides, H being their joint
    distribution function in the middle of each cell; from 0, without unit. Without equal values N M / (N + M) times its
    square is the two-sample statistic of Pettitt (1976) but for a share 1 / N; rows of equal value count by their
    midrank, as with Scholz and Stephens (1987), who divide by a spread that is smaller for them.
    """
    assert isinstance(pair, NumericPair)
    if not pair.comparable:
        return Statistic(0.0)
    gaps, rows = pair.gaps()
    return Statistic(float(_anderson_darling(gaps[np.newaxis], rows[np.newaxis])[0]))


def total_variation(pair: Pair) -> Statistic:
    """Measure the share of rows that would have to move for the bins' shares to be equal, from 0 to 1.

    Half the sum of |r - c| over the bins of `population_stability_index`.
    """
    return Statistic(float(_tv(pair.reference_bins, pair.current_bins)))


def chi_square(pair: Pair) -> Statistic:
    """Measure Pearson's statistic of the two-row contingency table, with its p-value.

    Expected counts are pooled from both sides and levels expected fewer than 5 times count together, with
    Yates' correction where they are still too few: a single row of an unseen level cannot make the p-value 0.
    """
    statistic, freedom = _chi_square(pair.reference_bins, pair.current_bins)
    return Statistic(float(statistic), float(scipy.special.chdtrc(np.maximum(freedom, 1), statistic)))


def _both_present(reference: FloatArray, current: FloatArray) -> np.ndarray:
    return (reference.sum(axis=-1) > 0) & (current.sum(axis=-1) > 0)


def _psi(reference: FloatArray, current: FloatArray) -> FloatArray:
    occupied = reference + current > 0
    r = np.where(occupied, np.maximum(reference, 0.5), 0.0)
    c = np.where(occupied, np.maximum(current, 0.5), 0.0)
    r = r / np.maximum(r.sum(axis=-1, keepdims=True), 0.5)
    c = c / np.maximum(c.sum(axis=-1, keepdims=True), 0.5)
    ratio = np.divide(r, c, out=np.ones_like(r), where=occupied)
    total = ((r - c) * np.log(ratio)).sum(axis=-1)
    return np.where(_both_present(reference, current), np.maximum(total, 0.0), 0.0)


def _js(reference: FloatArray, current: FloatArray) -> FloatArray:
    r = reference / np.maximum(reference.sum(axis=-1, keepdims=True), 1.0)
    c = current / np.maximum(current.sum(axis=-1, keepdims=True), 1.0)
    middle = (r + c) / 2
    divergence = (
        (scipy.special.rel_entr(r, middle) + scipy.special.rel_entr(c, middle)).sum(axis=-1) / 2 / np.log(2)
    )
    return np.where(_both_present(reference, current), np.sqrt(np.clip(divergence, 0.0, 1.0)), 0.0)


def _tv(reference: FloatArray, current: FloatArray) -> FloatArray:
    r = reference / np.maximum(reference.sum(axis=-1, keepdims=True), 1.0)
    c = current / np.maximum(current.sum(axis=-1, keepdims=True), 1.0)
    return np.where(_both_present(reference, current), np.abs(r - c).sum(axis=-1) / 2, 0.0)


def _anderson_darling(gaps: FloatArray, rows: FloatArray) -> FloatArray:
    """Work from the differences after each cell, and from the rows of both sides up to its end."""
    shares = rows / np.maximum(rows[:, -1:], 1.0)
    weights = np.diff(shares, axis=-1, prepend=0.0)
    middle = (gaps + np.concatenate([np.zeros((len(gaps), 1)), gaps[:, :-1]], axis=-1)) / 2
    joint = shares - weights / 2
    spread = np.where(weights > 0, joint * (1 - joint), 1.0)
    return np.sqrt((middle**2 / spread * weights).sum(axis=-1))


def _chi_square(reference: FloatArray, current: FloatArray) -> tuple[FloatArray, FloatArray]:
    n_reference = np.maximum(reference.sum(axis=-1, keepdims=True), 1.0)
    n_current = np.maximum(current.sum(axis=-1, keepdims=True), 1.0)
    pooled = (reference + current) / (n_reference + n_current)
    difference = reference / n_reference - current / n_current
    rare = pooled * np.minimum(n_reference, n_current) < MIN_EXPECTED
    scale = _effective_n(n_reference, n_current)[..., 0]
    rare_pooled = np.where(rare, pooled, 0.0).sum(axis=-1)
    rare_difference = np.abs(np.where(rare, difference, 0.0).sum(axis=-1))
    few = rare_pooled * np.minimum(n_reference, n_current)[..., 0] < MIN_EXPECTED
    rare_difference = np.where(few, np.maximum(rare_difference - 0.5 / scale, 0.0), rare_difference)
    terms = np.divide(difference**2, pooled, out=np.zeros_like(pooled), where=~rare)
    rare_term = np.divide(
        rare_difference**2, rare_pooled, out=np.zeros_like(rare_pooled), where=rare_pooled > 0
    )
    freedom = (~rare).sum(axis=-1) + (rare_pooled > 0) - 1
    compares = _both_present(reference, current) & (freedom > 0)  # where all levels are rare, nothing is left
    return np.where(compares, scale * (terms.sum(axis=-1) + rare_term), 0.0), freedom


def _effective_n[Number: (float, FloatArray)](n_reference: Number, n_current: Number) -> Number:
    return n_reference * n_current / (n_reference + n_current)


def _gaps(draws: Resampled) -> FloatArray:
    r = draws.reference_cells / np.maximum(draws.reference_cells.sum(axis=-1, keepdims=True), 1.0)
    c = draws.current_cells / np.maximum(draws.current_cells.sum(axis=-1, keepdims=True), 1.0)
    return np.cumsum(r - c, axis=-1)


_BOTH = frozenset({NUMERIC, CATEGORICAL})

# A psi of 0.1 is the customary line between "stable" and "moved". For small moves the others follow from it:
# a normal column shifted by 0.3 standard deviations has psi 0.1, ks and tv 0.12, js 0.13, anderson_darling 0.2,
# wasserstein 0.3; 0.1 for all of them errs on the side of noticing. Chi-square grows with the rows, and its floor too.
KERNELS: dict[str, Kernel] = {
    kernel.name: kernel
    for kernel in (
        Kernel(
            "psi", _BOTH, population_stability_index,
            lambda draws: _psi(draws.reference_bins, draws.current_bins), lambda n_reference, n: 0.1,
        ),
        Kernel(
            "js", _BOTH, jensen_shannon_distance,
            lambda draws: _js(draws.reference_bins, draws.current_bins), lambda n_reference, n: 0.1,
        ),
        Kernel(
            "tv", _BOTH, total_variation,
            lambda draws: _tv(draws.reference_bins, draws.current_bins), lambda n_reference, n: 0.1,
        ),
        Kernel(
            "ks", frozenset({NUMERIC}), kolmogorov_smirnov,
            lambda draws: np.abs(_gaps(draws)).max(axis=-1, initial=0.0), lambda n_reference, n: 0.1,
        ),
        Kernel(
            "wasserstein", frozenset({NUMERIC}), wasserstein_normalised,
            lambda draws: np.abs(_gaps(draws)[:, :-1]) @ np.diff(draws.cell_offsets) / draws.scale,
            lambda n_reference, n: 0.1,
        ),
        Kernel(
            "anderson_darling", frozenset({NUMERIC}), anderson_darling_distance,
            lambda draws: _anderson_darling(
                _gaps(draws), np.cumsum(draws.reference_cells + draws.current_cells, axis=-1)
            ),
            lambda n_reference, n: 0.1,
        ),
        Kernel(
            "chi_square", frozenset({CATEGORICAL}), chi_square,
            lambda draws: _chi_square(draws.reference_bins, draws.current_bins)[0],
            lambda n_reference, n: 0.1 * _effective_n(float(max(n_reference, 1)), float(n)),
        ),
    )
}  # fmt: skip


def kind_of(column: PreparedReference | NumericSummary | CategoricalSummary) -> str:
    """Return whether a column is "numeric" or "categorical"."""
    return NUMERIC if isinstance(column, NumericReference | NumericSummary) else CATEGORICAL


def kernels_for(kind: str) -> list[Kernel]:
    """List the kernels that apply to a kind of column, in the order of the registry."""
    return [kernel for kernel in KERNELS.values() if kind in kernel.applies_to]


def measure_drift(
    reference: PreparedReference, current: NumericSummary | CategoricalSummary
) -> dict[str, Statistic]:
    """Measure every statistic that applies to a column, by metric name."""
    pair = compare(reference, current)
    return {kernel.name: kernel.measure(pair) for kernel in kernels_for(kind_of(reference))}
