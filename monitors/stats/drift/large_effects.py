"""What a statistic shows of an effect so large that nobody could want to overlook it.

A limit above that is none: where a reference's days differ so much, or a window has so few rows, that quiet windows go
further than a column that moved by three of its standard deviations, no value tells whether anything has happened.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from monitors.stats.drift.distances import KERNELS, Resampled, compare, kernels_for, kind_of
from monitors.stats.drift.prepared import CategoricalReference, NumericReference, PreparedReference
from monitors.stats.mergeable.sketches import FloatArray, KeyArray, NumericSummary, summarise_distinct

SHIFT = 3.0
"""Standard deviations of the reference that a number moves by, up or down."""
REPLACED = 0.5
"""The share of a category's rows that take a value which the reference does not have."""


def large_effects(reference: PreparedReference, n: int) -> dict[str, float]:
    """Return what each statistic, by name, shows of a window of `n` rows that moved by `SHIFT`, or was `REPLACED`."""
    moved = _shifted(reference, n) if isinstance(reference, NumericReference) else _replaced(reference, n)
    effects = {
        kernel.name: float(kernel.measure_draws(moved).max()) for kernel in kernels_for(kind_of(reference))
    }
    if isinstance(reference, NumericReference):
        # Between the reference's own cells lies what these see of a column of few values.
        pairs = [compare(reference, _moved(reference, sign)) for sign in (1, -1)]
        for name in ("ks", "anderson_darling", "wasserstein"):
            effects[name] = max(KERNELS[name].measure(pair).value for pair in pairs)
    return effects


def _moved(reference: NumericReference, sign: int) -> NumericSummary:
    """Move the reference's values by `SHIFT`: around a centre moved the other way they have the same offsets."""
    summary, shift = reference.summary, sign * SHIFT * reference.scale
    if summary.distinct is not None:
        moved = replace(summary.distinct, values=summary.distinct.values + shift)
        return replace(summarise_distinct(moved, centre=summary.centre), missing=summary.missing)
    around = summary.recentred(summary.centre - shift)
    return replace(
        around, centre=summary.centre, minimum=summary.minimum + shift, maximum=summary.maximum + shift
    )


def _shifted(reference: NumericReference, n: int) -> Resampled:
    """Move the reference's values up, and down, by `SHIFT`, and count them on its own bins and cells."""
    bins, cells = (
        np.array([_counts(reference, ends, sign) for sign in (1, -1)])
        for ends in (reference.bin_ends, reference.cell_ends)
    )
    share = n / max(float(reference.cell_counts.sum()), 1.0)
    return Resampled(
        np.repeat(reference.bin_counts[np.newaxis], 2, axis=0), bins * share,
        np.repeat(reference.cell_counts[np.newaxis, :-1], 2, axis=0), cells[:, :-1] * share,
        reference.cell_offsets, reference.scale,
    )  # fmt: skip


def _counts(reference: NumericReference, ends: KeyArray, sign: int) -> FloatArray:
    """Count the shifted values up to each of the keys `ends`, then the rest, then what is missing."""
    summary, counts = reference.summary, np.zeros(ends.size + 2)
    counts[-1] = reference.cell_counts[-1]
    if not summary.n:
        return counts
    places = np.minimum(np.searchsorted(summary.keys, ends), summary.keys.size - 1)
    # The largest offset that each takes; where none has its key, what lies before the next.
    offsets = summary.offsets[places]
    lasts = np.where(summary.keys[places] == ends, offsets, np.nextafter(offsets, -np.inf))
    into = np.searchsorted(lasts, summary.offsets + sign * SHIFT * reference.scale, side="left")
    np.add.at(counts, into, summary.counts)
    return counts


def _replaced(reference: CategoricalReference, n: int) -> Resampled:
    """Move `REPLACED` of the rows to a level that the reference does not know, which counts among the others."""
    usual = reference.bin_counts[np.newaxis]
    window = usual * ((1 - REPLACED) * n / max(float(usual.sum()), 1.0))
    window[0, -2] += REPLACED * n
    nothing: FloatArray = np.empty((1, 0))
    return Resampled(usual, window, nothing, nothing, np.empty(0), 1.0)
