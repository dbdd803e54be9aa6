"""How rows are told apart: each column cut into cells, which a search puts together to segments.

Cells look at the columns alone, never at what the rows came to: so all that a search may try is fixed before it begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray, IntArray

BINS = 8  # of a number, with equal counts; one with no more values has a cell for each
LEVELS = 50  # a category's most frequent ones


@dataclass(frozen=True, slots=True)
class RowCondition:
    """What a row's value has to be: this `value`, within `[lower, upper)` (None is open), or missing.

    It is the value of a `feature` or of a `tag`; the other one is empty.

    >>> print(RowCondition("origin", value="EWR"), RowCondition("wind", lower=20.0), sep="; ")
    origin = EWR; wind ≥ 20
    """

    feature: str = ""
    value: str | None = None
    lower: float | None = None
    upper: float | None = None
    is_missing: bool = False
    tag: str = ""

    @property
    def column(self) -> str:
        """Name whose value it is."""
        return f"tag {self.tag}" if self.tag else self.feature

    def __str__(self) -> str:
        if self.is_missing:
            return f"{self.column} is missing"
        if self.value is not None:
            return f"{self.column} = {self.value}"
        if self.lower is None:
            return f"{self.column} < {self.upper:.6g}"
        if self.upper is None:
            return f"{self.column} ≥ {self.lower:.6g}"
        return f"{self.lower:.6g} ≤ {self.column} < {self.upper:.6g}"

    def holds(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Return of which rows it holds; `values` are texts as objects (None is missing) or numbers as floats (NaN is).

        Objects may hold floats beside texts: each row is compared as what it is.

        >>> RowCondition("wind", lower=20.0).holds(np.array([3.0, 20.0, np.nan]))
        array([False,  True, False])
        >>> RowCondition("wind", lower=20.0).holds(np.array(["high", 20.0, None], object))
        array([False,  True, False])
        """
        if values.dtype == object:
            listed = values.tolist()
            if self.is_missing:
                return np.array([value is None for value in listed], bool)
            is_number = np.array([isinstance(value, float) for value in listed], bool)
            held = np.array([value == self.value and value is not None for value in listed], bool)
            if is_number.any():
                held[is_number] = self.holds(values[is_number].astype(np.float64))
            return held
        if self.is_missing:
            return np.isnan(values)
        if self.value is not None:
            return _equals(values, self.value)
        lower = -np.inf if self.lower is None else self.lower
        return (values >= lower) & (values < (np.inf if self.upper is None else self.upper))


def _equals(values: FloatArray, text: str) -> NDArray[np.bool_]:
    """Compare numbers with one as it is written; of what was a float32 once only its first digits are."""
    try:
        number = float(text)
    except ValueError:
        return np.zeros(values.size, bool)
    with np.errstate(over="ignore"):
        return (values == number) | (values == float(np.float32(number)))


def name_of(conditions: Iterable[RowCondition]) -> str:
    """Name a segment by the conditions that all hold of its rows."""
    return " and ".join(map(str, conditions))


@dataclass(frozen=True, eq=False)
class Cells:
    """A column in cells: `codes` holds each row's, -1 where it lies in none.

    The `values` of a number are its distinct ones where each has a cell, else None, and `edges` lie between the cells;
    the values of a category are its levels and its edges None. The cell after these is of what is missing.
    """

    feature: str
    codes: IntArray
    size: int
    values: tuple[str, ...] | None
    edges: FloatArray | None

    @property
    def is_ordered(self) -> bool:
        return self.edges is not None

    @property
    def missing(self) -> int:
        return self.size - 1

    def ranges(self) -> list[tuple[int, int]]:
        """List the runs of cells, first and last, that a condition can name: of a category one cell each."""
        last = self.missing
        runs = [
            (first, end)
            for first in range(last)
            for end in range(first, last if self.is_ordered else first + 1)
            if end - first < last - 1  # not all that there is
        ]
        return [*runs, (last, last)]

    def coarse_ranges(self, most: int) -> list[tuple[int, int]]:
        """List a few ranges that do not overlap: the levels that come first, or runs of about equal length."""
        last = self.missing
        if self.is_ordered and last > most:
            starts = [last * part // most for part in range(most + 1)]
            runs = [(first, end - 1) for first, end in pairwise(starts)]
        else:
            runs = [(cell, cell) for cell in range(min(last, most))]
        return [*runs, (last, last)]

    def condition(self, first: int, last: int) -> RowCondition:
        """Return what it means to lie in the cells from `first` to `last`."""
        if first == self.missing:
            return RowCondition(self.feature, is_missing=True)
        if self.values is not None and first == last:
            return RowCondition(self.feature, value=self.values[first])
        assert self.edges is not None  # levels have no runs
        lower = None if first == 0 else float(self.edges[first - 1])
        upper = None if last == self.missing - 1 else float(self.edges[last])
        return RowCondition(self.feature, lower=lower, upper=upper)


def cut_column(feature: str, values: NDArray[Any], *, least: int) -> Cells | None:
    """Cut a column (texts as objects, else numbers; None or NaN is missing) into cells; None where it has only one.

    Of a category only levels of at least `least` rows get a cell. Rows in order of the array.
    """
    if values.dtype == object:
        return _cut_category(feature, values, least)
    return _cut_number(feature, values.astype(np.float64))


def _cut_category(feature: str, values: NDArray[Any], least: int) -> Cells | None:
    counts: dict[str, int] = {}
    texts = [None if value is None or value != value else str(value) for value in values.tolist()]
    for text in texts:
        if text is not None:
            counts[text] = counts.get(text, 0) + 1
    frequent = sorted(
        (text for text in counts if counts[text] >= least), key=lambda text: (-counts[text], text)
    )
    levels = {text: cell for cell, text in enumerate(frequent[:LEVELS])}
    if not levels or (len(counts) < 2 and None not in texts):
        return None
    missing = len(levels)
    codes = [missing if text is None else levels.get(text, -1) for text in texts]
    return Cells(feature, np.array(codes, np.int64), missing + 1, tuple(levels), None)


def _cut_number(feature: str, values: FloatArray) -> Cells | None:
    is_known = ~np.isnan(values)
    known = values[is_known]
    distinct = np.unique(known)
    if not distinct.size or (distinct.size == 1 and is_known.all()):
        return None
    if distinct.size <= BINS:
        edges, named = distinct[1:], tuple(f"{value:.15g}" for value in distinct)
    else:
        cuts = np.quantile(known, np.arange(1, BINS) / BINS, method="lower")
        edges, named = np.unique(cuts[cuts > distinct[0]]), None
    codes = np.where(is_known, np.searchsorted(edges, values, side="right"), edges.size + 1)
    return Cells(feature, codes.astype(np.int64), edges.size + 2, named, edges)


def cut_columns(columns: Mapping[str, NDArray[Any]], *, least: int) -> list[Cells]:
    """Cut every column that has more than one cell, in the order of the columns."""
    cut = (cut_column(feature, values, least=least) for feature, values in columns.items())
    return [cells for cells in cut if cells is not None]


def given_away(values: NDArray[Any], groups: IntArray) -> float:
    """Return how much of a column is known of a row whose group is known: 0 nothing, 1 all (Goodman-Kruskal's lambda).

    >>> given_away(np.array(["mon", "mon", "tue", "tue"], object), np.array([1, 1, 2, 2]))
    1.0
    """
    cells = cut_column("", values, least=1)
    if cells is None:
        return 0.0
    _, group = np.unique(groups, return_inverse=True)
    counts = np.bincount(group * (cells.size + 1) + cells.codes + 1).astype(np.float64)
    table = np.pad(counts, (0, -counts.size % (cells.size + 1))).reshape(-1, cells.size + 1)
    guessed, best = table.max(axis=1).sum(), table.sum(axis=0).max()
    return float((guessed - best) / (table.sum() - best)) if table.sum() > best else 0.0
