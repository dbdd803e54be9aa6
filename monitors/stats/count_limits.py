"""How few rows a window may have, by how many the same windows had before.

Windows differ by chance, and by more than that: their counts are negative binomial around a mean that a few of them
tell no better than they do (the predictive distribution of Gamma and Poisson). Half of the least earlier count alone
would be passed by one window of ninety where ten rows usually come, by one of seventeen where three do.
"""

from collections.abc import Sequence

import numpy as np
import scipy

LOW = 0.5  # of the fewest of the earlier windows: fewer are worth a word
BY_CHANCE = 1e-3  # of windows


def least_count(earlier: Sequence[float]) -> float:
    """Return the number of rows below which a window has fewer than `LOW` and than chance explains.

    `earlier` are the counts of at least two windows.

    >>> least_count([3_000, 3_100, 2_900])
    1450.0
    >>> least_count([10, 9, 12, 11])
    2.0
    """
    counts = np.asarray(earlier, dtype=np.float64)
    few = LOW * float(counts.min())
    mean = (float(counts.sum()) + 0.5) / counts.size
    spread = max(float(counts.var(ddof=1)) / mean**2 - 1 / mean, 0.0)  # squared, relative, beyond chance
    shape = 1 / (1 / (counts.sum() + 0.5) + spread * (1 + 1 / counts.size))

    def chance_below(count: float) -> float:
        return float(scipy.special.betainc(shape, count, shape / (shape + mean))) if count >= 1 else 0.0

    if chance_below(np.ceil(few)) <= BY_CHANCE:
        return few
    low, high = 0.0, float(np.ceil(few))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if chance_below(middle) <= BY_CHANCE else (low, middle)
    return low
