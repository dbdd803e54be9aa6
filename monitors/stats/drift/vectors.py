"""The drift of a vector: one decision from the columns along its directions and that of its length.

Each column is judged as any number is. How unlikely all of them together are is Simes' p-value (1986): the smallest of
k p_i / i over the ordered p-values, which holds for independent columns and for those that depend on each other
positively (Sarkar 1998), as the distances along related directions do. It rejects at a rate q where Benjamini-Hochberg
over the columns would reject any. The statistic is that of the column furthest beyond its limit, and limits are those
of k columns (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy
from numpy.typing import ArrayLike

from monitors.stats.drift.distances import Statistic
from monitors.stats.drift.judged import FeatureDrift, Judgement
from monitors.stats.mergeable.sketches import NumericSummary

VECTOR = "vector"
MIN_SHIFT = 0.1  # of the reference's spread: a smaller shift of the mean does not matter


def simes_p_value(p_values: ArrayLike) -> float:
    """Combine p-values of columns that may depend on each other into one.

    >>> simes_p_value([0.01, 0.5, 0.6, 0.9])
    0.04
    >>> simes_p_value([0.02, 0.02, 0.02, 0.02])
    0.02
    """
    ordered = np.sort(np.asarray(p_values, np.float64))
    return float(min((ordered * ordered.size / np.arange(1, ordered.size + 1)).min(), 1.0))


def column_quantile(quantile: float, columns: int) -> float:
    """Return the quantile of one column that the furthest of several passes as seldom as `quantile` says."""
    return 1 - (1 - quantile) / columns


def judge_vector(name: str, columns: Sequence[FeatureDrift]) -> FeatureDrift:
    """Judge a vector by its columns, which were each judged at the `column_quantile` of all of them."""
    furthest = min(columns, key=lambda column: (not _exceeds(column), column.p_value))
    statistics = {
        kernel: _furthest([column.statistics[kernel] for column in columns])
        for kernel in columns[0].statistics
    }
    return replace(
        furthest,
        feature=name,
        kind=VECTOR,
        n=max(column.n for column in columns),
        statistics=statistics,
        p_value=simes_p_value([column.p_value for column in columns]),
        reference_windows=min(column.reference_windows for column in columns),
        column=furthest.feature,
    )


def _exceeds(column: FeatureDrift) -> bool:
    return column.statistics[column.decided_by].exceeds


def _furthest(judgements: Sequence[Judgement]) -> Judgement:
    """Return what one statistic says of a vector: the column furthest beyond its limit, or nearest to it."""
    found = max(judgements, key=lambda one: one.value / one.threshold if one.threshold else one.value)
    return replace(
        found,
        p_value=simes_p_value([one.p_value for one in judgements]),
        asymptotic_p_value=None,
        reason=f"Of {len(judgements)} numbers that are kept of a vector, the one furthest off counts. {found.reason}",
        is_informative=any(one.is_informative for one in judgements),
    )


def mean_shift(
    references: Sequence[NumericSummary], currents: Sequence[NumericSummary], *, quantile: float = 0.99
) -> tuple[Statistic, float]:
    """Measure how far the mean of vectors moved, in units of the reference's spread; returns it with its limit.

    From the columns along the directions: the root of the sum of their squared differences of means over the sum of
    their variances, which over random directions estimates |m - m'| / sqrt(tr C). The p-value holds whatever the
    covariance C is: of all sums of squares of normals with one mean, that of a single one has the heaviest tail
    (Szekely and Bakirov 2003), from 1.54 times the mean on.
    """
    pairs = [(r, c) for r, c in zip(references, currents, strict=True) if r.n > 1 and c.n]
    variance = sum(reference.std**2 for reference, _ in pairs)
    if not pairs or not variance > 0:
        return Statistic(0.0, 1.0), MIN_SHIFT
    squared = sum((reference.mean - current.mean) ** 2 for reference, current in pairs) / variance
    rows = min(reference.n * current.n / (reference.n + current.n) for reference, current in pairs)
    tail = squared * rows
    p_value = float(scipy.special.chdtrc(1, tail)) if tail >= _TAIL_FROM else 1.0
    limit = float(np.sqrt(scipy.special.chdtri(1, 1 - quantile) / rows))
    return Statistic(float(np.sqrt(squared)), p_value), max(limit, MIN_SHIFT)


_TAIL_FROM = 1.5365
