"""When the p-values of a stream of windows began to be small: the change point, and how sure that is.

p-values have the density θ p^(θ-1). Before the change θ lies between 1/2 and 1: 1 is that of chance, and a reference
that happened to be calm makes later p-values a little smaller. After it θ lies below 1/2. Neither is known, so each
place is weighed by the probability of all p-values if the change lies there, averaged over both; before the data each
place is as likely (Chernoff and Zacks, Annals of Mathematical Statistics 35, 1964, who do so for means of a normal
distribution).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST = 1e-4
"""p-values below it count as it: one window that stands far out is not to outweigh all others."""
_BEFORE = np.linspace(0.5, 1.0, 11)
_AFTER = np.linspace(0.05, 0.5, 19)


@dataclass(frozen=True, slots=True)
class Onset:
    """The place of the first p-value after the change, and the first and last place that it may have had."""

    place: int
    first: int
    last: int


def estimate_onset(p_values: Sequence[float], confidence: float = 0.95) -> Onset:
    """Estimate where p-values begin to be small: the most probable place, and an interval of that confidence.

    The interval grows from the estimate by the more probable of its two neighbours until it has the probability. There
    is one p-value at least.

    >>> estimate_onset([0.6, 0.2, 0.9, 0.5, 0.7, 0.3, 0.01, 0.02, 0.004, 0.03])
    Onset(place=6, first=1, last=8)
    """
    small = -np.log(np.clip(np.asarray(p_values, np.float64), _LEAST, 1.0))
    after, n_after = np.cumsum(small[::-1])[::-1], np.arange(small.size, 0, -1)
    logs = _averaged(n_after, after, _AFTER) + _averaged(small.size - n_after, small.sum() - after, _BEFORE)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    first = last = place = int(weights.argmax())
    while weights[first : last + 1].sum() < confidence and last - first + 1 < weights.size:
        before = weights[first - 1] if first else -1.0
        behind = weights[last + 1] if last + 1 < weights.size else -1.0
        first, last = (first - 1, last) if before >= behind else (first, last + 1)
    return Onset(place, first, last)


def _averaged(
    n: NDArray[np.int64], total: NDArray[np.float64], thetas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the logarithm of θ^n e^((1-θ)s), averaged over some θ; s is the sum of -log p of n values."""
    logs = n[:, None] * np.log(thetas) + total[:, None] * (1 - thetas)
    averaged: NDArray[np.float64] = np.logaddexp.reduce(logs, axis=1) - np.log(thetas.size)
    return averaged
