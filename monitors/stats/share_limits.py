"""How large a share of a window's rows may be, by how often the rows of a reference's days had something.

The rows of a window that have it are beta-binomial: their mean is that of the reference, and they are as much alike as
days differ by more than chance (Crowder, 1978), of a window of several days as the mean of as many. What a reference of
few rows and days leaves unknown of the mean adds to that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from monitors.stats.mergeable.sketches import IntArray

TOLERANCE = 0.05  # how much worse than their reference rows may be
BY_CHANCE = 2e-4  # of windows, beyond what chance and days explain: a model has dozens of shares
UNSURE = 2.0  # times as far as they seem to may days differ: a month of them does not tell better
MAX_WORSE = 3.5  # times the worst day at most: more would blind
MAX_ROWS = 1_000  # chance moves more rows by no more than these, which is next to nothing


@dataclass(frozen=True, eq=False)
class DayCounts:
    """How many rows the days of a reference have, in order, and how many of these have something."""

    rows: IntArray
    hits: IntArray

    @classmethod
    def of(cls, hits: Sequence[float], rows: Sequence[int]) -> "DayCounts":
        """Count what each day has; days without rows tell nothing."""
        known = np.asarray(rows, dtype=np.int64)
        return cls(known[known > 0], np.rint(np.asarray(hits, dtype=np.float64)[known > 0]).astype(np.int64))

    @property
    def mean(self) -> float:
        """The share of all days together; 0 without rows."""
        return float(self.hits.sum() / max(int(self.rows.sum()), 1))

    @property
    def worst(self) -> float:
        """The largest share of a day; 0 without rows."""
        return float((self.hits / self.rows).max(initial=0.0))

    def correlation(self) -> float:
        """Estimate how alike the rows of a day are, from 0 (days differ by chance alone) to 1 (each is all or nothing).

        That is the intraclass correlation of the analysis of variance.
        """
        days, total = len(self.rows), int(self.rows.sum())
        if days < 2 or total <= days:
            return 0.0
        shares = self.hits / self.rows
        between = float(self.rows @ (shares - self.mean) ** 2) / (days - 1)
        within = float(self.rows @ (shares * (1 - shares))) / (total - days)
        size = (total - float(self.rows @ self.rows) / total) / (days - 1)
        spread = between + (size - 1) * within
        return min(max((between - within) / spread, 0.0), 1.0) if spread > 0 else 0.0


def share_limit(days: DayCounts, rows: int) -> float:
    """Return the share of so many rows that windows like the days of a reference pass once in thousands.

    It lies above their mean by the tolerance and by what chance and the spread of days explain, as if the two were
    independent. Rows are rounded down to two digits: fewer have a larger limit, and like windows are computed once.
    """
    return _share_limit(days, rows - rows % 10 ** max(len(str(rows)) - 2, 0))


@lru_cache(maxsize=10_000)
def _share_limit(days: DayCounts, rows: int) -> float:
    total, n = int(days.rows.sum()), min(rows, MAX_ROWS)
    if not total or not n:
        return 1.0
    a_day, of_days = total / len(days.rows), days.correlation()
    alike = UNSURE * of_days * min(a_day / rows, 1.0)
    unknown = 1 / (total + 2) + of_days / len(days.rows)
    mean = (int(days.hits.sum()) + 0.5) / (total + 1)
    by_chance, by_days = (_seldom_passed(n, mean, one) for one in (unknown, alike + unknown))
    explained = max(by_chance, min(by_days, MAX_WORSE * days.worst))
    return days.mean + math.hypot(TOLERANCE, max(explained - days.mean, 0.0))


def _seldom_passed(n: int, mean: float, correlation: float) -> float:
    """Return the smallest share of `n` rows that beta-binomial ones pass no more often than `BY_CHANCE`."""
    strength = 1 / min(correlation, 1 - 1e-9) - 1
    a, b, k = mean * strength, (1 - mean) * strength, np.arange(n)
    logs = np.log((n - k) * (a + k)) - np.log((k + 1) * (b + n - k - 1))
    logs = np.concatenate([[0.0], np.cumsum(logs)])
    chances = np.exp(logs - logs.max())
    beyond = 1 - np.cumsum(chances) / chances.sum()
    return int(np.argmax(beyond <= BY_CHANCE)) / n
