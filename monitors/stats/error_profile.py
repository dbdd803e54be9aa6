"""A regression's error before labels come: what a reference's predictions of the same size were off by.

A plain relative of direct loss estimation (DLE): where that fits a model of the loss on all features, this keeps
the mean loss of twenty bins of the prediction, which is all that a window's summary can be put through. It sees
that a window holds more of the predictions that are hard, and is blind to what moves the error and not the
prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from monitors.stats.estimate import Estimate, around
from monitors.stats.outcomes import Moments
from monitors.stats.sketches import NumericSummary

BINS = 20
MIN_REFERENCE_ROWS = 200


@dataclass(frozen=True, slots=True)
class ErrorProfile:
    """Losses of a reference by its prediction: bin i holds predictions from `edges[i - 1]` up to `edges[i]`.

    The first and the last bin are open. There is one more bin than edges.
    """

    edges: tuple[float, ...]
    absolute: tuple[Moments, ...]
    squared: tuple[Moments, ...]


def profile_errors(labels: ArrayLike, predicted: ArrayLike) -> ErrorProfile | None:
    """Learn the mean loss of each bin of the prediction; None below 200 rows with both."""
    truth, answer = np.asarray(labels, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    finite = np.isfinite(truth) & np.isfinite(answer)
    truth, answer = truth[finite], answer[finite]
    if truth.size < MIN_REFERENCE_ROWS:
        return None
    edges = np.unique(np.quantile(answer, np.arange(1, BINS) / BINS))
    with np.errstate(over="ignore"):
        losses = np.abs(answer - truth)
        bins = np.searchsorted(edges, answer, side="right")
        by_bin = [losses[bins == number] for number in range(edges.size + 1)]
        return ErrorProfile(
            tuple(edges.tolist()),
            tuple(Moments.of(part) for part in by_bin),
            tuple(Moments.of(part**2) for part in by_bin),
        )


def estimate_errors(profile: ErrorProfile, predictions: NumericSummary) -> dict[str, Estimate]:
    """Estimate mae and rmse of a window's predictions.

    The interval is where the realised metric should lie: it has the window's own sampling error and that of the
    reference's means.
    """
    bins = np.searchsorted(np.array(profile.edges), predictions.positions, side="right")
    rows = np.bincount(bins, predictions.counts, len(profile.absolute))
    mae, squared = _mean_of(profile.absolute, rows), _mean_of(profile.squared, rows)
    root = [
        None if bound is None else float(np.sqrt(bound))
        for bound in (squared.value, squared.lower, squared.upper)
    ]
    return {"mae": mae, "rmse": Estimate(root[0], squared.n, root[1], root[2], squared.method)}


def _mean_of(losses: tuple[Moments, ...], rows: np.ndarray) -> Estimate:
    n = int(rows.sum())
    known = np.array([part.n for part in losses], dtype=np.float64)
    if not n or (known[rows > 0] == 0).any():
        return Estimate(None, n)
    means = np.array([part.mean if part.n else 0.0 for part in losses])
    errors = np.array([part.standard_error if part.n > 1 else 0.0 for part in losses])
    shares = rows / n
    with np.errstate(over="ignore", invalid="ignore"):
        # A row varies about its bin's mean by the bin's variance, which is its mean's times its rows.
        variance = float((shares * errors**2 * known).sum()) / n + float(((shares * errors) ** 2).sum())
        return around(float(shares @ means), n, float(np.sqrt(variance)), method="normal", least=0.0)
