"""Thresholds that know how many rows a window has, and the correction for looking at many features at once.

A fixed 0.1 alarms falsely on small windows and sleeps on large ones. Here the null distribution of every kernel is
resampled from the reference: both a reference and a window of their real sizes are drawn from the reference's own
distribution and compared, as if nothing had drifted. Where the reference has days and they differ by more than
independent rows do, the days themselves are compared instead (see `reference_days.py`), and the next one is predicted
from these few (see `next_run.py`). It depends on the window only through its days and its number of rows, which is
rounded down to a log-spaced grid: callers keep one `NullDistributions` per feature, `grid_size(n)` and days.

The combined decision takes the harmonic mean of the p-values of several statistics (Wilson 2019): a small one leads,
and those that agree with it add to it. It is compared with what it does in the same draws. The draws are joint, so
that it needs no independence (Westfall and Young 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from monitors.stats.drift.distances import (
    CATEGORICAL,
    KERNELS,
    NUMERIC,
    Resampled,
    kernels_for,
    kind_of,
)
from monitors.stats.drift.homogeneity import judge_homogeneity
from monitors.stats.drift.large_effects import large_effects
from monitors.stats.drift.next_run import NextRun, predict_next_run
from monitors.stats.drift.prepared import NumericReference, PreparedReference
from monitors.stats.drift.reference_days import Days, Runs, bins_of, draw_windows, runs_of
from monitors.stats.mergeable.sketches import FloatArray

DRAWS = 1_000
SIZES_PER_DECADE = 12
MIN_SIZE = 10

# The statistics whose p-values decide together. Each sees what the others are slow to see: Anderson-Darling a moved
# middle and both tails, Wasserstein far values, the psi what changed inside or went missing.
COMBINED = {NUMERIC: ("anderson_darling", "wasserstein", "psi"), CATEGORICAL: ("chi_square", "psi")}

# Beyond this share of draws, or the largest few of what was truly observed, the tail of the null distribution is
# taken to fall exponentially.
_TAIL_SHARE = 0.1
_MIN_TAIL_DRAWS = 8

# Of a statistic's largest draw, and of 1: what is the same in all draws but for the order of its sums must not look as
# if it varied a little.
_ROUNDED_TO = 1e-9


@dataclass(frozen=True, slots=True)
class Threshold:
    """The value from which a statistic counts as drift, and a sentence that says why it lies there.

    It is not informative where even a large effect (see `large_effects.py`) would not reach it.
    """

    value: float
    reason: str
    is_informative: bool = True


@dataclass(frozen=True, eq=False, slots=True)
class NullDistributions:
    """What each kernel's statistic does when nothing drifts, at `n` rows: ascending draws by kernel name.

    `combined` are ascending draws of what `_pooled` makes of the p-values of one draw. `runs` counts the runs of days
    that the draws come from, 0 when rows were drawn independently; `why` says which, as a sentence. `next_run`
    is what they predict of each statistic that differs among them. `large` is what it shows of a large effect.
    """

    n: int
    n_reference: int
    draws: dict[str, FloatArray]
    combined: FloatArray
    runs: int = 0
    why: str = ""
    next_run: dict[str, NextRun] = field(default_factory=dict)
    large: dict[str, float] = field(default_factory=dict)

    @property
    def reference_windows(self) -> float:
        """How many windows without drift the reference is worth, as far as its noise tells on every later window.

        Runs of days count one each. Independent rows leave no doubt how far windows scatter, only where they are
        centred, which a distance feels by the square: a reference of m windows' rows is worth m^2 / 2.
        """
        if self.next_run:
            return min(run.freedom for run in self.next_run.values()) + 1
        if self.runs:
            return float(self.runs)
        return (self.n_reference / max(self.n, 1)) ** 2 / 2

    def threshold(self, kernel: str, *, quantile: float = 0.99) -> Threshold:
        """Place the threshold at a quantile of the null distribution, never below the effect floor."""
        null, share = self._quantile(kernel, quantile), f"{100 * (1 - quantile):.2g}%"
        floor = KERNELS[kernel].effect_floor(self.n_reference, self.n)
        if null >= floor:
            said = f"At {self.n} rows {kernel} exceeds {null:.3g} in {share} of windows without drift."
        else:
            said = (
                f"Effects below {floor:.3g} do not matter; at {self.n} rows {kernel} exceeds {null:.3g} in "
                f"{share} of windows without drift."
            )
        large = self.large.get(kernel, np.inf)
        is_informative = null < max(floor, large)
        if not is_informative:
            said += f" Not even a large effect would reach that: it shows {large:.3g}."
        return Threshold(max(null, floor), f"{said} {self.why}".strip(), is_informative)

    def _quantile(self, kernel: str, quantile: float) -> float:
        if kernel in self.next_run:
            return self.next_run[kernel].quantile(quantile)
        return _quantile(self.draws[kernel], quantile)

    def p_value(self, kernel: str, value: float) -> float:
        """Estimate how often a window without drift shows at least `value`."""
        return float(self.p_values(kernel, np.array([value]))[0])

    def p_values(self, kernel: str, values: FloatArray) -> FloatArray:
        """Estimate how often a window without drift shows at least each value; never 0."""
        if kernel in self.next_run:
            return self.next_run[kernel].p_values(values)
        return _p_values(self.draws[kernel], values, self.runs)

    def combined_p_value(self, values: Mapping[str, float]) -> float:
        """Estimate how often the p-values of the statistics are together as small as those of `values`, by kernel.

        One of them alone is as often so small that it would do without the others: less often it cannot be. Where few
        runs were seen, that several of them are is as much more often as it was among these.
        """
        p_values = np.array([[self.p_value(kernel, value)] for kernel, value in values.items()])
        pooled = _pooled(p_values)
        alone = np.exp(-pooled) * (self._times_alone if self.runs else 1.0)
        return float(np.maximum(_p_values(self.combined, pooled, self.runs), np.minimum(alone, 1.0))[0])

    @property
    def _times_alone(self) -> float:
        """Return how many times as often the p-values together are small as one of them is: 1 where all agree."""
        return max(_TAIL_SHARE * float(np.exp(_quantile(self.combined, 1 - _TAIL_SHARE))), 1.0)


def _quantile(ascending: FloatArray, quantile: float) -> float:
    """Interpolate as numpy does, which would look for the order again."""
    position = quantile * (ascending.size - 1)
    below = int(position)
    above = min(below + 1, ascending.size - 1)
    return float(ascending[below] + (position - below) * (ascending[above] - ascending[below]))


def _p_values(draws: FloatArray, values: FloatArray, runs: int) -> FloatArray:
    """Estimate how often a statistic without drift shows at least each value, from its ascending draws.

    Inside the draws it is their share; it is never 0. In the outer tenth a tail continues it, so that a p-value can
    be as small as a correction for many features needs: exponential with the draws' mean excess e over m of them, which
    for a further value is (1 + x / (m e)) ^ -m, the share of an F(2, 2 m) distribution beyond it. `runs` draws, when
    given, were truly observed; the others only repeat them.
    """
    seen = min(runs, draws.size) or draws.size
    rounded = values - _ROUNDED_TO * max(float(draws[-1]), 1.0)  # as the draws are
    reached = (draws.size - np.searchsorted(draws, rounded, side="left")) / draws.size
    share = (reached * seen + 1) / (seen + 1)
    in_tail = min(max(int(seen * _TAIL_SHARE), _MIN_TAIL_DRAWS), max(seen // 2, 1))
    tail = draws[int(draws.size * (1 - in_tail / seen)) :]
    excess = float(tail.mean() - tail[0])
    if excess <= 0 or tail[-1] == tail[0]:  # the mean of equal numbers may differ from them
        return share
    beyond = np.maximum(values - tail[0], 0.0) / excess
    continued = np.maximum(in_tail / seen * (1 + beyond / in_tail) ** -in_tail, np.finfo(np.float64).tiny)
    return np.where(values > tail[0], np.minimum(share, continued), share)


def _pooled(p_values: FloatArray) -> FloatArray:
    """Pool a row of p-values per statistic: the logarithm of the sum of their inverses, larger where less likely."""
    return np.logaddexp.reduce(-np.log(p_values), axis=0)


def grid_size(n: int) -> int:
    """Round a window's rows down to the log-spaced grid (12 sizes a decade): fewer rows, a wider threshold.

    >>> grid_size(923), grid_size(1000), grid_size(3)
    (826, 1000, 10)
    """
    if n <= MIN_SIZE:
        return MIN_SIZE
    step = int(np.floor(np.log10(n) * SIZES_PER_DECADE + 1e-9))
    return int(np.ceil(10 ** (step / SIZES_PER_DECADE) - 1e-6))


def resample_null(
    reference: PreparedReference,
    n: int,
    *,
    rng: np.random.Generator,
    draws: int = DRAWS,
    days: Days | None = None,
    length: int = 1,
) -> NullDistributions:
    """Draw the null distribution of every kernel that applies to `reference`, for windows of `n` rows.

    `n` counts all rows, missing ones included, as the reference's shares do. `days` are the reference's own, of which
    a window has `length`. The same `rng` state gives the same result.
    """
    rows = int(reference.bin_counts.sum())
    kernels = kernels_for(kind_of(reference))
    if not rows or n <= 0:
        nothing = np.zeros(draws)
        return NullDistributions(n, rows, {kernel.name: nothing for kernel in kernels}, nothing)
    found = _runs_apart(reference, days, n, length) if days is not None else None
    if days is not None and found is not None:
        others, windows = draw_windows(days, found, n, rng=rng, draws=draws)
        runs, why = len(found.counts), _why_by_days(found, days)
    else:
        shares = (_cells_of(reference) / rows, _shares_of_windows(reference) / rows)
        others, windows = (
            rng.multinomial(size, own, size=draws).astype(float)
            for size, own in zip((rows, n), shares, strict=True)
        )
        runs, why = 0, _why_independent(days)
    resampled = _resampled(reference, others, windows)
    joint = {kernel.name: _rounded(kernel.measure_draws(resampled)) for kernel in kernels}
    next_run = predict_next_run(joint, len(found.counts), found.days) if found is not None else {}
    sorted_draws = {name: np.sort(values) for name, values in joint.items()}
    null = NullDistributions(
        n, rows, sorted_draws, np.empty(0), runs, why, next_run, large_effects(reference, n)
    )
    p_values = np.array([null.p_values(name, joint[name]) for name in COMBINED[kind_of(reference)]])
    return replace(null, combined=np.sort(_pooled(p_values)))


def _shares_of_windows(reference: PreparedReference) -> FloatArray:
    """Return how many of the reference's rows a window without drift would show of each cell.

    Levels that came twice have a bin because they came twice: they are rarer than that, and levels that came once or
    never are together more frequent than they look. By Good and Turing's estimate (Biometrika 40, 1953) these are twice
    the number of levels that came twice, which here every level with a bin gives up alike, one row each at most.
    """
    cells = _cells_of(reference)
    if isinstance(reference, NumericReference) or not reference.bins:
        return cells
    levels = len(reference.bins)
    given_up = min(2 * np.count_nonzero(cells[:levels] == 2) / levels, 1.0)
    expected = cells.copy()
    expected[:levels] -= given_up
    expected[levels] += given_up * levels
    return expected


def _rounded(draws: FloatArray) -> FloatArray:
    step = _ROUNDED_TO * max(float(draws.max()), 1.0)
    return (draws / step).round() * step


def _runs_apart(reference: PreparedReference, days: Days, n: int, length: int) -> Runs | None:
    """List the runs that windows are judged by; None where rows count as independent.

    Days that are alike may still drift slowly: what tells are runs as long as a window, none of which share a day.
    """
    runs = runs_of(days, n, length)
    if days.differ:
        return runs
    disjoint = bins_of(reference, runs.counts[:: runs.days])
    differ = judge_homogeneity(disjoint, ordered=isinstance(reference, NumericReference)).differ
    return runs if runs.days > 1 and differ else None


def _why_by_days(runs: Runs, days: Days) -> str:
    said = (
        "1 with few rows is left out" if runs.left_out == 1 else f"{runs.left_out} with few rows are left out"
    )
    return (
        f"Judged by {len(runs.counts)} runs of days of the reference, each against its other days"
        f"{f' ({said})' if runs.left_out else ''}: rows of a day may resemble each other (design effect "
        f"{days.design_effect:.3g})."
    )


def _why_independent(days: Days | None) -> str:
    if days is None:
        return "Rows count as independent: the reference has fewer than 14 days with times."
    return f"Rows count as independent: the reference's {len(days.counts)} days are alike."


def _cells_of(reference: PreparedReference) -> FloatArray:
    return reference.cell_counts if isinstance(reference, NumericReference) else reference.bin_counts


def _resampled(reference: PreparedReference, others: FloatArray, windows: FloatArray) -> Resampled:
    if not isinstance(reference, NumericReference):
        nothing = np.empty((len(windows), 0))
        return Resampled(others, windows, nothing, nothing, np.empty(0), 1.0)
    return Resampled(
        reference.bins_of(others), reference.bins_of(windows), others[:, :-1], windows[:, :-1],
        reference.cell_offsets, reference.scale,
    )  # fmt: skip


def benjamini_hochberg(p_values: Sequence[float] | FloatArray, q: float) -> list[bool]:
    """Return which hypotheses to reject so that at most a share `q` of the rejected ones is expected to be false.

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
