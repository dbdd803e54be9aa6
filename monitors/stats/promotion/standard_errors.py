"""How far chance moves a difference that is a sum over blocks of rows, which are days or stretches of rows.

The sum over its standard error is Student's t with as many degrees of freedom as there are blocks less one; blocks of
unequal size count as fewer (Kish). Where one block resembles the next, as days do among which customers come back,
chance moves the sum further than blocks in another order would: as an autoregressive process of first order, or a
blurred one.

A few days say little about how far chance reaches once in a thousand times: the mean of five would have to lie twelve
standard errors from zero. For such small chances the rows within the days are used too. How much more alike the rows of
one day are than those of different days is estimated from both, shrunk towards what is usual of paired differences:
most of what a day does to one version it does to the other.
"""

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray

MIN_BLOCKS_OF_ORDER = 10
"""The least number of days that show how much one resembles the next."""
MAX_LIKENESS = 0.8
FADING = 0.5  # of what two blocks share, from one to the next
SELDOM = 0.01
"""Below this chance the rows within days are used too."""
_ROOTS = np.concatenate([[0.0], np.geomspace(1e-3, 0.7, 60)])
_PRIOR = np.gradient(_ROOTS) / (1 + (_ROOTS / 0.1) ** 2)
"""Of the root of the correlation of two rows of a day: half-Cauchy with a median of 0.1. A median of 0.05 errs where
days differ much, and one of 0.2 gains next to nothing."""


@dataclass(frozen=True, slots=True)
class StandardError:
    """How far chance moves a difference, and the degrees of freedom with which that is known.

    `within` is what the standard error would be if the rows of a block had no more in common than others; None where
    that is not known. `rows_a_block` belongs to it.
    """

    value: float
    freedom: float
    within: float | None = None
    rows_a_block: float = 1.0

    @classmethod
    def of(
        cls,
        influences: FloatArray,
        rows: NDArray[np.int64],
        within: float | None = None,
        *,
        are_days: bool = False,
    ) -> "StandardError":
        """Read it from the influences of blocks with so many rows each; without bounds of a single one.

        How much one block resembles the next counts for days, which are in order, and not for stretches: their rows may
        have no order, and harm that begins halfway makes them alike.
        """
        count = influences.size
        if count < 2:
            return cls(np.inf, 1.0)
        effective = rows.sum() ** 2 / (rows.astype(np.float64) ** 2).sum()
        separate = float(np.sqrt(count / (count - 1) * (influences**2).sum()))
        likeness = likeness_of_next(influences) if are_days else 0.0
        # So many blocks are worth one independent block. What blocks share is blurred by what each has alone, so it
        # fades more slowly than the first autocorrelation shows: at least half remains from one block to the next.
        repeated = max(1 + 2 * likeness / (1 - FADING), (1 + likeness) / (1 - likeness))
        longer = float(np.sqrt(repeated))
        return cls(
            longer * separate,
            float(max(effective / repeated - 1, 1.0)),
            longer * within if within else None,
            float(rows.sum() / effective),
        )

    def beside(self, other: "StandardError") -> "StandardError":
        """Return that of the difference of two independent sides (Welch and Satterthwaite)."""
        squares = self.value**2, other.value**2
        total = sum(squares)
        if not 0 < total < np.inf:
            return StandardError(float(np.sqrt(total)), min(self.freedom, other.freedom))
        freedom = total**2 / (squares[0] ** 2 / self.freedom + squares[1] ** 2 / other.freedom)
        return StandardError(float(np.sqrt(total)), float(freedom))

    def reach(self, tail: float) -> float:
        """Return how far chance moves the difference to either side but for the chance `tail`."""
        if not self.value:
            return 0.0
        by_blocks = float(scipy.special.stdtrit(self.freedom, 1 - tail)) * self.value
        if tail >= SELDOM or not self.within or not np.isfinite(by_blocks):
            return by_blocks
        return min(by_blocks, self._reach_by_rows(self.within, tail))

    def _reach_by_rows(self, within: float, tail: float) -> float:
        """Bound it by the mixture of normal distributions that blocks and the prior leave of the rows' correlation."""
        alike = 1 + (self.rows_a_block - 1) * _ROOTS**2
        seen = self.freedom * (self.value / within) ** 2
        weights = np.log(_PRIOR) - (seen / alike + self.freedom * np.log(alike)) / 2
        chances = np.exp(weights - weights.max())
        chances /= chances.sum()
        low, high = 0.0, float(np.sqrt(alike[-1])) * 40
        while high - low > 1e-4 * high:
            middle = (low + high) / 2
            beyond = float(chances @ scipy.special.ndtr(-middle / np.sqrt(alike)))
            low, high = (middle, high) if beyond > tail else (low, middle)
        return high * within


def error_within(influences: FloatArray, blocks: NDArray[np.int64], count: int) -> float:
    """Return the standard error of a sum of influences of rows, by their spread around the mean of their block."""
    rows = np.bincount(blocks, minlength=count)
    means = np.bincount(blocks, weights=influences, minlength=count) / np.maximum(rows, 1)
    free = influences.size - np.count_nonzero(rows)
    squares = float(((influences - means[blocks]) ** 2).sum())
    return float(np.sqrt(squares * influences.size / free)) if free > 0 else 0.0


def likeness_of_next(influences: FloatArray) -> float:
    """Estimate how much a block resembles the one before it, from 0 to `MAX_LIKENESS`; 0 of too few blocks.

    That is their autocorrelation, which a mean that was estimated from the same blocks makes seem smaller (Marriott and
    Pope, 1954).
    """
    count, squares = influences.size, float((influences**2).sum())
    if count < MIN_BLOCKS_OF_ORDER or not squares:
        return 0.0
    seen = float(influences[1:] @ influences[:-1]) / squares
    return min(max((count * seen + 1) / (count - 3), 0.0), MAX_LIKENESS)
