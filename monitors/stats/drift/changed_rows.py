"""Which rows of a window are unlike its reference, and which rows of the reference are nearest to them.

A row is the more unlike the reference, the further its k-th nearest row there is away compared with the k-th nearest
row of its own window: the k-nearest-neighbour estimate of how much denser the window is around it than the reference
(Wang, Kulkarni and Verdu 2009). So what is odd in itself, and was odd in the reference, does not stand out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray

NEIGHBOURS = 5
_CLOSEST = 1e-3  # of the usual distance: rows that lie closer count as that far apart, as twins do
_BLOCK_CELLS = 1 << 21  # distances that are held at once


@dataclass(frozen=True)
class NearestRow:
    """A row by its place, and how far away it is."""

    place: int
    distance: float


@dataclass(frozen=True)
class ChangedRow:
    """A row of a window by its place, its distance to the reference and to its own window, and the nearest rows there.

    Distances are those to the k-th nearest row in units of what is usual within the reference.
    """

    place: int
    from_reference: float
    from_window: float
    nearest: tuple[NearestRow, ...]


def changed_rows(reference: FloatArray, window: FloatArray, *, count: int, nearest: int) -> list[ChangedRow]:
    """Find up to `count` rows of a window that are unlike the reference, most of all first, each with `nearest` rows.

    Both are tables of finite numbers with the same columns. Empty where a side has too few rows to have neighbours.

    >>> line = np.arange(20.0).reshape(-1, 1)
    >>> [row.place for row in changed_rows(line, np.vstack([line, 40 + line[:8] / 10]), count=3, nearest=1)]
    [27, 26, 25]
    """
    if min(len(reference), len(window)) <= NEIGHBOURS:
        return []
    within = _kth_distances(reference, reference, itself=True)
    usual = float(np.median(within)) or float(within.max()) or 1.0
    from_reference = _kth_distances(window, reference) / usual
    from_window = _kth_distances(window, window, itself=True) / usual
    ratio = from_reference / np.maximum(from_window, _CLOSEST)
    chosen = np.lexsort([-from_reference, -ratio])[:count]
    distances = scipy.spatial.distance.cdist(window[chosen], reference)
    order = np.argsort(distances, axis=1, kind="stable")[:, :nearest]
    return [
        ChangedRow(
            int(place),
            float(from_reference[place]),
            float(from_window[place]),
            tuple(NearestRow(int(row), float(distances[at, row]) / usual) for row in order[at]),
        )
        for at, place in enumerate(chosen)
    ]


def _kth_distances(rows: FloatArray, others: FloatArray, *, itself: bool = False) -> NDArray[np.float64]:
    """Return how far the k-th nearest of the others is from each row, which may be one of them `itself`."""
    step = max(1, _BLOCK_CELLS // len(others))
    rank = NEIGHBOURS if itself else NEIGHBOURS - 1
    parts = [
        np.partition(scipy.spatial.distance.cdist(rows[start : start + step], others), rank, axis=1)[:, rank]
        for start in range(0, len(rows), step)
    ]
    return np.concatenate(parts)
