"""What a statistic shows in one more run of days without drift, predicted from the few that a reference has.

A reference of some weeks has too few runs to read a p-value of 1 in 1,000 off them. But the cube root of a sum of
squares is nearly normal (Wilson and Hilferty 1931), and of one more normal value than those that gave a mean and a
spread it is known how far it lies from them: by Student's t (Geisser 1993, section 2.1.2). The root draws distances,
which are no squares, together more than they need, which errs on the side of calm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy

from monitors.stats.mergeable.sketches import FloatArray


@dataclass(frozen=True, slots=True)
class NextRun:
    """The cube root of the next run's statistic: `mean`, and `spread` times Student's t with `freedom` degrees."""

    mean: float
    spread: float
    freedom: float

    def p_values(self, values: FloatArray) -> FloatArray:
        """Return the chance that it reaches each value; it is never 0."""
        below = (self.mean - np.cbrt(values)) / self.spread
        return np.maximum(scipy.special.stdtr(self.freedom, below), np.finfo(np.float64).tiny)

    def quantile(self, share: float) -> float:
        """Return the value that it stays below with this chance."""
        return max(self.mean + self.spread * float(scipy.special.stdtrit(self.freedom, share)), 0.0) ** 3


def effective_runs(runs: int, length: int) -> float:
    """Return how many runs that share no day would show their spread as well as so many of `length` successive days.

    Neighbours share days: the squares of their correlations, which fall evenly with the days between them, add up to
    (2 length^2 + 1) / (3 length).
    """
    return max(runs * 3 * length / (2 * length**2 + 1), 2.0)


def predict_next_run(draws: Mapping[str, FloatArray], runs: int, length: int) -> dict[str, NextRun]:
    """Predict each statistic from its draws, to which each of `runs` runs of `length` successive days gave as many.

    A statistic that is the same in all draws predicts nothing.
    """
    disjoint = effective_runs(runs, length)
    widen = np.sqrt(disjoint / (disjoint - 1) * (1 + 1 / disjoint))
    roots = {name: np.cbrt(values) for name, values in draws.items()}
    return {
        name: NextRun(float(values.mean()), float(values.std() * widen), disjoint - 1)
        for name, values in roots.items()
        if values.max() > values.min()
    }
