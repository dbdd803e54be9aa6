"""A regression's error before labels come: what rows of a reference that are alike were off by.

Rows are put into bins by a number that each of them has, and a bin keeps the mean loss of its rows. A window is a count
of rows in each bin. By the size of the prediction this needs a window's summary alone: it sees that a window holds more
of the predictions that are hard, and is blind to what moves the error and not the prediction. By an error that is
learnt from all features (`monitors.stats.estimation.learnt_errors`) it is direct loss estimation (DLE, as in NannyML).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from monitors.stats.mergeable.outcomes import Moments
from monitors.stats.mergeable.sketches import FloatArray, IntArray
from monitors.stats.performance.estimate import Estimate, around

BINS = 50
MIN_BIN_ROWS = 20  # rows, for there are fewer bins where the reference is small
MIN_REFERENCE_ROWS = 200


@dataclass(frozen=True, slots=True)
class ErrorProfile:
    """Losses of a reference by a number of its rows: bin i holds those from `edges[i - 1]` up to `edges[i]`.

    The first and the last bin are open. There is one more bin than edges.
    """

    edges: tuple[float, ...]
    absolute: tuple[Moments, ...]
    squared: tuple[Moments, ...]

    def bins_of(self, numbers: ArrayLike) -> IntArray:
        """Return in which bin each number lies."""
        bins: IntArray = np.searchsorted(np.array(self.edges), np.asarray(numbers), side="right")
        return bins

    def count(self, numbers: ArrayLike, rows: IntArray | None = None) -> IntArray:
        """Count the rows of each bin; `rows` says how many have each of the numbers, else it is one."""
        counts: IntArray = np.bincount(self.bins_of(numbers), rows, len(self.absolute)).astype(np.int64)
        return counts


def profile_errors(errors: ArrayLike, by: ArrayLike) -> ErrorProfile | None:
    """Learn the mean losses of rows that were off by `errors`, in bins of as many rows by the numbers `by`.

    None below 200 rows with both, and where the sum of the squares is no float.
    """
    off, number = np.asarray(errors, dtype=np.float64), np.asarray(by, dtype=np.float64)
    finite = np.isfinite(off) & np.isfinite(number)
    losses, number = np.abs(off[finite]), number[finite]
    with np.errstate(over="ignore"):
        if losses.size < MIN_REFERENCE_ROWS or not np.isfinite((losses**2) @ (losses**2)):
            return None
    bins = min(BINS, losses.size // MIN_BIN_ROWS)
    edges = np.unique(np.quantile(number, np.arange(1, bins) / bins))
    places = np.searchsorted(edges, number, side="right")
    by_bin = [losses[places == bin] for bin in range(edges.size + 1)]
    return ErrorProfile(
        tuple(edges.tolist()),
        tuple(Moments.of(part) for part in by_bin),
        tuple(Moments.of(part**2) for part in by_bin),
    )


def expected_losses(profile: ErrorProfile, numbers: ArrayLike) -> FloatArray:
    """Return the mean absolute loss of the bin of each number; NaN where the bin is empty."""
    means: FloatArray = np.array([part.mean for part in profile.absolute])[profile.bins_of(numbers)]
    return means


def estimate_errors(profile: ErrorProfile, rows: IntArray) -> dict[str, Estimate]:
    """Estimate mae and rmse of a window that has so many rows in each bin.

    The interval is where the realised metric should lie: it has the window's own sampling error and that of the
    reference's means.
    """
    mae, squared = _mean_of(profile.absolute, rows), _mean_of(profile.squared, rows)
    root = [
        None if bound is None else float(np.sqrt(bound))
        for bound in (squared.value, squared.lower, squared.upper)
    ]
    return {"mae": mae, "rmse": Estimate(root[0], squared.n, root[1], root[2], squared.method)}


def _mean_of(losses: tuple[Moments, ...], rows: IntArray) -> Estimate:
    n = int(rows.sum())
    known = np.array([part.n for part in losses], dtype=np.float64)
    if not n or (known[rows > 0] == 0).any():
        return Estimate(None, n)
    means = np.array([part.mean if part.n else 0.0 for part in losses])
    errors = np.array([part.standard_error if part.n > 1 else 0.0 for part in losses])
    shares = rows / n
    # A row varies about its bin's mean by the bin's variance, which is its mean's times its rows.
    variance = float((shares * errors**2 * known).sum()) / n + float(((shares * errors) ** 2).sum())
    return around(float(shares @ means), n, float(np.sqrt(variance)), method="normal", least=0.0)
