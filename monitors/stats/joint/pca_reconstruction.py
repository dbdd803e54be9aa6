"""How badly a window's rows are put together again from the few directions that its reference mostly varies in.

Columns that go together in the reference share directions. Rows in which they no longer do lie outside of these, and
lose more when they are projected onto them, though each column alone is as it was. With `z` the standardised columns,
`m` their mean and `W` the leading components of the reference, the error of a row is

    || (z - m) - (z - m) W W' ||,

and a window's is the mean over its rows, in standard deviations of the reference. Components are as many as explain
65% of the reference's variance, as in NannyML's data reconstruction with PCA.

Numbers and shares of levels are standardised by the reference; what is missing counts as the reference's mean, and
what lies further than ten standard deviations away as ten: one broken row shall not decide over all others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitors.stats.joint.rows import JointRows, level_shares, look_up
from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.performance.estimate import Estimate, around

EXPLAINED = 0.65
FARTHEST = 10.0


@dataclass(frozen=True, eq=False)
class Components:
    """What was learnt of a reference: shares of levels, means and standard deviations, and the leading directions."""

    shares: dict[int, FloatArray]
    mean: FloatArray
    scale: FloatArray
    middle: FloatArray
    directions: FloatArray

    @classmethod
    def learn(cls, reference: JointRows) -> Components:
        """Learn from a reference of at least one row and column."""
        shares = {
            column: level_shares(reference, column)
            for column in np.flatnonzero(reference.is_category).tolist()
        }
        numbers = _numbers(reference, shares)
        known = np.isfinite(numbers)
        filled = np.where(known, numbers, 0.0)
        mean = filled.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        spread = np.sqrt((np.where(known, numbers - mean, 0.0) ** 2).mean(axis=0))
        # What is constant but for rounding has no spread to measure by.
        scale = np.where(spread > 1e-9 * np.maximum(np.abs(mean), 1e-30), spread, np.inf)
        z = _standardise(numbers, mean, scale)
        middle = z.mean(axis=0)
        return cls(shares, mean, scale, middle, _leading(z - middle))

    def errors(self, rows: JointRows) -> FloatArray:
        """Return each row's error of reconstruction."""
        z = _standardise(_numbers(rows, self.shares), self.mean, self.scale) - self.middle
        lost: FloatArray = np.linalg.norm(z - z @ self.directions @ self.directions.T, axis=1)
        return lost


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """The mean error of a window's rows, and of the reference's own."""

    error: Estimate
    own: float


def reconstruct(reference: JointRows, window: JointRows) -> Reconstruction:
    """Measure the mean error of the window's rows, which have the reference's columns; undefined without rows."""
    n = len(window)
    if not n or not len(reference) or not reference.names:
        return Reconstruction(Estimate(None, n), 0.0)
    components = Components.learn(reference)
    errors, own = components.errors(window), float(components.errors(reference).mean())
    standard_error = float(errors.std(ddof=1)) / n**0.5 if n > 1 else np.nan
    return Reconstruction(around(float(errors.mean()), n, standard_error, method="normal", least=0.0), own)


def _numbers(rows: JointRows, shares: dict[int, FloatArray]) -> FloatArray:
    numbers = rows.values.copy()
    for column, by_level in shares.items():
        numbers[:, column] = look_up(by_level, rows.values[:, column], otherwise=0.0)
    return numbers


def _standardise(numbers: FloatArray, mean: FloatArray, scale: FloatArray) -> FloatArray:
    return np.clip(np.where(np.isfinite(numbers), (numbers - mean) / scale, 0.0), -FARTHEST, FARTHEST)


def _leading(centred: FloatArray) -> FloatArray:
    """Return the directions, one a column, that explain enough of the variance; none where there is none."""
    variances, directions = np.linalg.eigh(centred.T @ centred)
    variances, directions = np.maximum(variances[::-1], 0.0), directions[:, ::-1]
    total = variances.sum()
    if total <= 0:
        return directions[:, :0]
    kept = int(np.searchsorted(np.cumsum(variances) / total, EXPLAINED, side="right")) + 1
    return directions[:, :kept]
