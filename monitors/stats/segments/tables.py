"""Segments of two periods in tables: rows and losses of each segment that a search may try, by blocks of time.

What may be tried is fixed by the columns alone (`conditions.py`): every cell of a column, every run of a number's
cells, and every pair of coarse cells of two columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray, IntArray
from monitors.stats.segments.conditions import Cells, RowCondition, cut_columns

COARSE = 4  # cells of a number in a pair
COARSE_LEVELS = 12


class BlockedRows(Protocol):
    """Rows with what each came to, and the number of its block of time; columns hold texts as objects or floats."""

    @property
    def columns(self) -> Mapping[str, NDArray[Any]]: ...
    @property
    def loss(self) -> FloatArray: ...
    @property
    def block(self) -> IntArray: ...
    def __len__(self) -> int: ...


# -- the rows in cells -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Side:
    """The losses of a period's rows, their blocks numbered without gaps, and which of these rows count."""

    loss: FloatArray
    block: IntArray
    blocks: int
    codes: list[IntArray]

    @classmethod
    def of(cls, rows: BlockedRows, codes: list[IntArray]) -> Side:
        names, block = np.unique(rows.block, return_inverse=True)
        return cls(rows.loss, block.astype(np.int64), names.size, codes)

    def take(self, keep: NDArray[np.bool_]) -> Side:
        return Side(self.loss[keep], self.block[keep], self.blocks, [codes[keep] for codes in self.codes])

    def tables(self, cells: IntArray, size: int) -> Tables:
        """Add up rows and losses by cell and block; rows in cell -1 are in none."""
        inside = cells >= 0
        place = cells[inside] * self.blocks + self.block[inside]
        loss, shape = self.loss[inside], (size, self.blocks)
        return Tables(
            np.bincount(place, minlength=size * self.blocks).astype(np.float64).reshape(shape),
            np.bincount(place, loss, size * self.blocks).reshape(shape),
            np.bincount(cells[inside], loss * loss, size),
        )

    def of_masks(self, segments: Sequence[CandidateSegment]) -> Tables:
        """Add up the rows of segments, which may overlap."""
        parts = [self.tables(np.where(one.mask(self), 0, -1), 1) for one in segments]
        return Tables(
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("rows", "losses", "squares")
            )
        )

    def whole(self) -> Tables:
        return self.tables(np.zeros(self.loss.size, np.int64), 1)


@dataclass(frozen=True, eq=False)
class Tables:
    """Of segments, a row each: how many rows and what losses by block, and the sum of squared losses."""

    rows: FloatArray
    losses: FloatArray
    squares: FloatArray

    def runs(self, ranges: Sequence[tuple[int, int]]) -> Tables:
        """Add up runs of cells."""
        first, last = np.array(ranges, np.int64).reshape(-1, 2).T
        return Tables(*(_sums(table, first, last) for table in (self.rows, self.losses, self.squares)))


def _sums(table: FloatArray, first: IntArray, last: IntArray) -> FloatArray:
    running = np.concatenate([np.zeros_like(table[:1]), np.cumsum(table, axis=0)])
    return running[last + 1] - running[first]


@dataclass(frozen=True, eq=False)
class Field:
    """Both periods in the same cells, with the sums of all their rows."""

    cells: list[Cells]
    window: Side
    usual: Side | None
    whole: Tables
    usual_whole: Tables | None
    least: int

    @classmethod
    def lay_out(cls, window: BlockedRows, usual: BlockedRows | None, *, least: int) -> Field:
        """Cut both periods' columns into the same cells; of a category levels of `least` rows get one."""
        n = len(window)
        cells = cut_columns(_together(window, usual), least=least)
        sides = [Side.of(window, [one.codes[:n] for one in cells])]
        if usual is not None:
            sides.append(Side.of(usual, [one.codes[n:] for one in cells]))
        return cls.over(cells, sides[0], sides[1] if usual is not None else None, least)

    @classmethod
    def over(cls, cells: list[Cells], window: Side, usual: Side | None, least: int) -> Field:
        return cls(cells, window, usual, window.whole(), usual.whole() if usual else None, least)

    def conditions_of(self, segment: CandidateSegment) -> tuple[RowCondition, ...]:
        """Return what a row of a segment has to be."""
        return tuple(self.cells[column].condition(first, last) for column, first, last in segment.ranges)

    def batch_of(self, segments: Sequence[CandidateSegment]) -> RowBatch:
        """Add up segments one by one."""
        return RowBatch(
            list(segments),
            self.window.of_masks(segments),
            self.usual.of_masks(segments) if self.usual else None,
        )

    def without(self, segments: Sequence[CandidateSegment]) -> Field:
        """Set the rows of segments aside, in both periods."""
        window = self.window.take(~_union(self.window, segments))
        usual = self.usual.take(~_union(self.usual, segments)) if self.usual else None
        return Field.over(self.cells, window, usual, self.least)


def _together(window: BlockedRows, usual: BlockedRows | None) -> dict[str, NDArray[Any]]:
    """Put each column of the window before that of the earlier period; one that changed its kind is left out."""
    if usual is None:
        return dict(window.columns)
    missing = np.full(len(usual), np.nan)
    together = {}
    for name, values in window.columns.items():
        before = usual.columns.get(name, missing)
        if values.dtype == before.dtype == object or object not in (values.dtype, before.dtype):
            together[name] = np.concatenate([values, before])
        elif values.dtype == object and np.isnan(before.astype(np.float64)).all():
            together[name] = np.concatenate([values, np.full(len(usual), None, object)])
    return together


# -- what is tried -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class CandidateSegment:
    """Ranges of cells, one a column: its number, the first and the last cell."""

    ranges: tuple[tuple[int, int, int], ...]

    def mask(self, side: Side) -> NDArray[np.bool_]:
        inside = [
            (side.codes[column] >= first) & (side.codes[column] <= last)
            for column, first, last in self.ranges
        ]
        return np.logical_and.reduce(inside)


def _union(side: Side, segments: Sequence[CandidateSegment]) -> NDArray[np.bool_]:
    return np.logical_or.reduce([segment.mask(side) for segment in segments])


@dataclass(frozen=True, eq=False)
class RowBatch:
    """Some segments and their sums in both periods."""

    segments: list[CandidateSegment]
    window: Tables
    usual: Tables | None


def single_segments(field: Field) -> list[RowBatch]:
    return [_single(field, column, cells) for column, cells in enumerate(field.cells)]


def _single(field: Field, column: int, cells: Cells) -> RowBatch:
    ranges = cells.ranges()

    def tables(side: Side) -> Tables:
        return side.tables(side.codes[column], cells.size).runs(ranges)

    segments = [CandidateSegment(((column, first, last),)) for first, last in ranges]
    return RowBatch(segments, tables(field.window), tables(field.usual) if field.usual else None)


def paired_segments(field: Field, most_paired: int) -> list[RowBatch]:
    coarse = []
    for column, cells in enumerate(field.cells[:most_paired]):
        ranges = cells.coarse_ranges(COARSE if cells.is_ordered else COARSE_LEVELS)
        number = np.full(cells.size + 1, -1)  # the last is of code -1
        for place, (first, last) in enumerate(ranges):
            number[first : last + 1] = place
        coarse.append((column, ranges, number))
    return [_pair(field, *pair) for pair in combinations(coarse, 2)]


type _Coarse = tuple[int, list[tuple[int, int]], IntArray]


def _pair(field: Field, left: _Coarse, right: _Coarse) -> RowBatch:
    width, size = len(right[1]), len(left[1]) * len(right[1])

    def tables(side: Side) -> Tables:
        rows, columns = left[2][side.codes[left[0]]], right[2][side.codes[right[0]]]
        return side.tables(np.where((rows >= 0) & (columns >= 0), rows * width + columns, -1), size)

    segments = [
        CandidateSegment(((left[0], *one), (right[0], *other))) for one in left[1] for other in right[1]
    ]
    return RowBatch(segments, tables(field.window), tables(field.usual) if field.usual else None)
