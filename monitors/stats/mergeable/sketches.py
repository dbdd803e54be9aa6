"""Mergeable summaries of one column: the whole of what monitoring remembers about its values.

Numbers are counted on a fixed grid: a value's cell is the top 16 bits of the float32 of `value - centre`
(sign, exponent and 7 bits of mantissa, so a cell is 0.8% of the distance to the centre wide). The grid needs
no reference, so any two windows of a feature merge by addition. Each cell keeps the sum of its values beside
their count: mass then sits at its own mean, which is what makes distances from a summary equal exact ones.
The centre is fixed once per feature; without one the grid would be blind to columns such as N(1e6, 100).
While a column has few distinct values (`MAX_DISTINCT`), each is counted beside the grid, so that nothing is lost to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from struct import Struct
from threading import local
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
KeyArray = NDArray[np.uint16]
Cells = tuple[KeyArray, IntArray, FloatArray]
"""Keys, ascending; how many values each cell has; and their sum."""

MAX_LEVELS = 5_000
MAX_DISTINCT = 256
"""A column of at most so many distinct values, and so one of at most so many rows, is kept exactly."""

_GRID_CELLS = 1 << 16
_BEYOND = float(np.finfo(np.float32).max) + 2.0**103  # what rounds to a float32 without end
# A column of so many rows is sorted, a longer one counted in a table of all cells: so many at a time that what is
# worked out of them stays in the cache.
_SORTED_ROWS = 8_192
_CHUNK_ROWS = 32_768
_FEW_CELLS = 8  # one part in so many of another is inserted into it, in place of sorting both
_WHOLE_IN_FLOAT32 = 2.0**24  # up to this a float32 has each whole number
_SAMPLED_ROWS = 1_024  # of a long column: they mostly show that it has too many distinct values
_FLOAT, _FLOAT_BITS = Struct("<f"), Struct("<i")
_ROWS_OF_ONE_THREAD = 8_192  # of more than 10,000 BLAS would have several threads make a product, which spin


class CentreMismatch(ValueError):
    """Two summaries lie on grids with different centres, so their cells do not coincide."""


@dataclass(frozen=True, eq=False, slots=True)
class Distinct:
    """Every value of a column, ascending, and how often it occurs."""

    values: FloatArray
    counts: IntArray


NO_VALUES = Distinct(np.empty(0), np.empty(0, dtype=np.int64))
NO_CELLS: KeyArray = np.empty(0, dtype=np.uint16)


class Steps(NamedTuple):
    """The steps of a column's distribution function, ascending.

    `ids` number them: rows of one step, and those of another column's step with the same id, are ties. `positions` are
    the steps' values, those of cells around the centre.
    """

    ids: KeyArray | FloatArray | NDArray[np.float32]
    counts: IntArray
    positions: FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class NumericSummary:
    """Counts and sums of a numeric column on the float grid around `centre`.

    `keys` ascend with the values; `sums` (per cell), `total` and `total_sq` are of `value - centre`, which
    keeps their precision when the column lies far from zero. `n` counts finite values only; `missing` counts
    NaN and None; `infinite` counts values beyond the range of a float32; `wrong_type` counts values that are
    no numbers, such as texts. `minimum` and `maximum` are NaN when `n` is 0. `distinct` counts the finite values one
    by one while there are at most `MAX_DISTINCT`; it is None where there are more, or where that is not known.
    """

    centre: float
    keys: KeyArray
    counts: IntArray
    sums: FloatArray
    n: int
    missing: int
    infinite: int
    minimum: float
    maximum: float
    total: float
    total_sq: float
    wrong_type: int = 0
    distinct: Distinct | None = None

    @property
    def rows(self) -> int:
        """Every value seen, those that are missing, infinite or no numbers included."""
        return self.n + self.missing + self.infinite + self.wrong_type

    @property
    def offsets(self) -> FloatArray:
        """The mean of each cell's values, relative to the centre; ascending."""
        return self.sums / self.counts

    @property
    def positions(self) -> FloatArray:
        """The mean of each cell's values; ascending."""
        return self.centre + self.sums / self.counts

    @property
    def mean(self) -> float:
        """The mean of the finite values; NaN when there are none."""
        return self.centre + self.total / self.n if self.n else float("nan")

    @property
    def std(self) -> float:
        """The population standard deviation (ddof 0) of the finite values; NaN when there are none."""
        if not self.n:
            return float("nan")
        if self.minimum == self.maximum:
            return 0.0
        return float(np.sqrt(max(self.total_sq / self.n - (self.total / self.n) ** 2, 0.0)))

    def merge(self, other: NumericSummary) -> NumericSummary:
        """Add `other`, as if both columns had been summarised as one; raises `CentreMismatch`."""
        return merge_numbers([self, other])

    @overload
    def quantile(self, q: float) -> float: ...
    @overload
    def quantile(self, q: Sequence[float] | FloatArray) -> FloatArray: ...
    def quantile(self, q: float | Sequence[float] | FloatArray) -> float | FloatArray:
        """Read the `q` quantile (0 to 1), interpolated between ranks as numpy does.

        Exact when each value is known or no cell holds different ones; else off by less than a cell, 0.8% of the
        distance to the centre. NaN when there are no finite values.
        """
        ranks = np.asarray(q, dtype=np.float64) * (self.n - 1)
        if not self.n:
            result = np.full(ranks.shape, np.nan)
        else:
            below, above = (
                self._value_at(np.floor(ranks)),
                self._value_at(np.ceil(ranks)),
            )
            result = below + (above - below) * (ranks - np.floor(ranks))
        return result if result.ndim else float(result)

    def _value_at(self, rank: FloatArray) -> FloatArray:
        positions, counts = self.known_values()
        inside = positions[np.searchsorted(np.cumsum(counts), rank, side="right")]
        return np.where(rank == 0, self.minimum, np.where(rank == self.n - 1, self.maximum, inside))

    def known_values(self) -> tuple[FloatArray, IntArray]:
        """Return each value, or else the mean of each cell, and how many there are."""
        if self.distinct is not None:
            return self.distinct.values, self.distinct.counts
        return self.positions, self.counts

    def histogram(self, edges: ArrayLike) -> IntArray:
        """Count values between ascending `edges`, as `numpy.histogram` does: [a, b), the last bin [a, b].

        Where only cells are known, one counts where its mean lies. Values outside the edges are left out.
        """
        positions, weights = self.known_values()
        counts, _ = np.histogram(positions, bins=np.asarray(edges, dtype=np.float64), weights=weights)
        return np.rint(counts).astype(np.int64)

    def count_beyond(self, least: float, most: float) -> int:
        """Count the values below `least` or above `most`.

        Where only cells are known, one counts where its mean lies: a stored mean is off by some millionths of its
        distance to the centre, which is allowed for.
        """
        if not self.n or (least <= self.minimum and self.maximum <= most):
            return 0
        positions, counts = self.known_values()
        slack = 0.0 if self.distinct is not None else 1e-6 * np.abs(self.offsets)
        return int(counts[(positions < least - slack) | (positions > most + slack)].sum())

    def recentred(self, centre: float) -> NumericSummary:
        """Move the summary to the grid around another centre; each cell moves as one value, its mean."""
        if centre == self.centre:
            return self
        if self.distinct is not None:
            return replace(
                summarise_distinct(self.distinct, centre=centre),
                missing=self.missing, infinite=self.infinite, wrong_type=self.wrong_type,
            )  # fmt: skip
        shift = self.centre - centre
        offsets = self.offsets + shift
        keys, counts, sums = add_up_cells(cells_of(offsets), self.counts, offsets * self.counts)
        total_sq = self.total_sq + 2 * shift * self.total + self.n * shift**2
        return NumericSummary(
            centre=centre, keys=keys, counts=counts, sums=sums, n=self.n, missing=self.missing,
            infinite=self.infinite, minimum=self.minimum, maximum=self.maximum,
            total=self.total + self.n * shift, total_sq=max(total_sq, 0.0), wrong_type=self.wrong_type,
        )  # fmt: skip


def numbers_among(values: ArrayLike) -> tuple[FloatArray, int]:
    """Return a column's numbers, NaN elsewhere, and how many values are neither numbers nor missing.

    A text is no number, whatever it looks like; a boolean is 1 or 0.

    >>> numbers_among(np.array([1.5, "2", None, True], object))
    (array([1.5, nan, nan, 1. ]), 1)
    """
    array = values if isinstance(values, np.ndarray) else np.array(values, object)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64, copy=False).ravel(), 0
    listed = array.ravel().tolist()
    is_number = [isinstance(value, (int, float, np.number, np.bool_)) for value in listed]
    numbers = [value if known else np.nan for value, known in zip(listed, is_number, strict=True)]
    present = sum(value is not None for value in listed)
    return np.array(numbers, np.float64), present - sum(is_number)


def choose_centre(values: ArrayLike) -> float:
    """Choose a feature's grid centre: the median of its finite values, or 0 when there are none."""
    numbers, _ = numbers_among(values)
    finite = numbers[np.isfinite(numbers)]
    return float(np.median(finite)) if finite.size else 0.0


def summarise_numbers(values: ArrayLike, *, centre: float) -> NumericSummary:
    """Summarise a column of numbers; NaN and None are missing, and what is no number is of the wrong type.

    >>> summary = summarise_numbers([1.0, 2.0, 2.0, None], centre=0.0)
    >>> summary.n, summary.missing, summary.mean, summary.quantile(0.5)
    (3, 1, 1.6666666666666667, 2.0)
    """
    numbers, wrong_type = numbers_among(values)
    if numbers.size <= 1 and (few := _summarise_few(numbers.tolist(), wrong_type, centre)) is not None:
        return few
    tally: _SortedTally | _TableTally = _SortedTally() if numbers.size <= _SORTED_ROWS else _TableTally()
    shift = 0.0 - centre  # added even if it is nothing: it turns -0.0 into 0.0, for equal values share a cell
    n, missing, total_sq = 0, 0, 0.0
    minimum, maximum = float("inf"), float("-inf")
    for start in range(0, numbers.size, _CHUNK_ROWS):
        chunk = numbers[start : start + _CHUNK_ROWS]
        least, most = float(chunk.min()), float(chunk.max())
        if not (least + shift > -_BEYOND and most + shift < _BEYOND):  # nor where one is NaN
            missing += int(np.isnan(chunk).sum())
            with np.errstate(over="ignore"):
                chunk = chunk[np.abs(chunk + shift) < _BEYOND]
            if not chunk.size:
                continue
            least, most = float(chunk.min()), float(chunk.max())
        offsets = np.add(chunk, shift, out=_room.offsets[: chunk.size])
        n += chunk.size
        minimum, maximum = min(minimum, least), max(maximum, most)
        total_sq += _squared(offsets)
        tally.add(chunk, offsets)
    keys, counts, sums = tally.cells()
    distinct = None
    if keys.size <= MAX_DISTINCT:
        of_cells = tally.values_of_cells()
        distinct = _count_distinct(numbers, shift) if of_cells is None else Distinct(of_cells + 0.0, counts)
    return NumericSummary(
        centre=float(centre), keys=keys, counts=counts, sums=sums,
        n=n, missing=missing - wrong_type, infinite=numbers.size - n - missing,
        minimum=minimum if n else float("nan"), maximum=maximum if n else float("nan"),
        total=float(sums.sum()), total_sq=total_sq, wrong_type=wrong_type, distinct=distinct,
    )  # fmt: skip


def _summarise_few(values: Sequence[float], wrong_type: int, centre: float) -> NumericSummary | None:
    """Summarise a column of a row or none, as hours of small models have thousands of; None beyond the grid."""
    if not values or values[0] != values[0]:
        missing = len(values) - wrong_type
        return NumericSummary(
            float(centre), NO_CELLS, NO_VALUES.counts, NO_VALUES.values, 0, missing, 0, np.nan, np.nan, 0.0, 0.0,
            wrong_type, NO_VALUES,
        )  # fmt: skip
    value = values[0]
    return summarise_value(value + 0.0, 1, centre=centre) if abs(value - centre) < _BEYOND else None


def summarise_value(value: float, count: int, *, centre: float) -> NumericSummary:
    """Summarise a column in which one value occurs so many times, without the arrays that several would take."""
    offset = value - centre
    [bits] = _FLOAT_BITS.unpack(_FLOAT.pack(offset))
    key = ((bits >> 16) ^ ((bits >> 31) & 0x7FFF)) + 0x8000  # as `_keys_of` does
    counts, total = np.array([count], np.int64), offset * count
    return NumericSummary(
        centre=float(centre), keys=np.array([key], np.uint16), counts=counts, sums=np.array([total]),
        n=count, missing=0, infinite=0, minimum=value, maximum=value,
        total=total, total_sq=offset * offset * count, distinct=Distinct(np.array([value]), counts),
    )  # fmt: skip


def summarise_distinct(distinct: Distinct, *, centre: float) -> NumericSummary:
    """Summarise a column without missing values from its distinct values."""
    values, counts = distinct.values, distinct.counts
    if values.size == 1:
        return summarise_value(float(values[0]), int(counts[0]), centre=centre)
    offsets = values - centre
    keys, in_cells, sums = add_up_cells(cells_of(offsets), counts, offsets * counts)
    return NumericSummary(
        centre=float(centre), keys=keys, counts=in_cells, sums=sums,
        n=int(counts.sum()), missing=0, infinite=0,
        minimum=float(values[0]) if values.size else float("nan"),
        maximum=float(values[-1]) if values.size else float("nan"),
        total=float(sums.sum()), total_sq=float(counts @ offsets**2), distinct=distinct,
    )  # fmt: skip


def summarise_counted(values: FloatArray, counts: IntArray, *, centre: float) -> NumericSummary:
    """Summarise a column without missing values from how often each occurs; a value may come several times.

    So columns are added up that are known by their distinct values, as `merge_numbers` adds them up one by one.
    """
    offsets = values - centre
    keys, in_cells, sums = add_up_cells(cells_of(offsets), counts, offsets * counts)
    return NumericSummary(
        centre=float(centre), keys=keys, counts=in_cells, sums=sums,
        n=int(counts.sum()), missing=0, infinite=0,
        minimum=float(values.min()) if values.size else float("nan"),
        maximum=float(values.max()) if values.size else float("nan"),
        total=float(sums.sum()), total_sq=float(counts @ offsets**2),
        distinct=_merge_distinct([Distinct(values, counts)]),
    )  # fmt: skip


def _count_distinct(numbers: FloatArray, shift: float) -> Distinct | None:
    """Count each finite value of a column; None if there are too many different ones."""
    for rows in (numbers[:: numbers.size // _SAMPLED_ROWS + 1], numbers):  # mostly a sample has too many
        with np.errstate(over="ignore"):
            finite = rows[np.abs(rows + shift) < _BEYOND]
        distinct = add_up_distinct(finite, np.ones(finite.size, dtype=np.int64))
        if distinct is None or rows.size == numbers.size:
            break
    return distinct


def steps_of(left: NumericSummary, right: NumericSummary, *, as_float32: bool = False) -> tuple[Steps, Steps]:
    """Return the steps of two columns of one centre: their cells, or their values where those of both are known.

    With `as_float32`, values that are equal in that precision are ties, as 0.1 in a file and the 0.1 that was logged
    are; and where whole numbers are too large for it, cells are given.
    """
    if left.distinct is None or right.distinct is None:
        return _cells_as_steps(left), _cells_as_steps(right)
    sides = left.distinct, right.distinct
    if as_float32 and any(np.abs(side.values).max(initial=0.0) >= _WHOLE_IN_FLOAT32 for side in sides):
        return _cells_as_steps(left), _cells_as_steps(right)
    return _values_as_steps(sides[0], as_float32), _values_as_steps(sides[1], as_float32)


def _cells_as_steps(column: NumericSummary) -> Steps:
    return Steps(column.keys, column.counts, column.offsets)


def _values_as_steps(distinct: Distinct, as_float32: bool) -> Steps:
    values = distinct.values
    return Steps(values.astype(np.float32) if as_float32 else values, distinct.counts, values)


def merge_numbers(parts: Sequence[NumericSummary]) -> NumericSummary:
    """Add up summaries of the same feature; raises `CentreMismatch` when their grids differ."""
    if len(parts) == 1:
        return parts[0]
    centres = {part.centre for part in parts}
    if len(centres) != 1:
        raise CentreMismatch(
            f"These summaries have the centres {sorted(centres)}; a feature keeps one centre: "
            "call .recentred() on the parts first."
        )
    filled = [part for part in parts if part.n]
    if filled:
        keys, counts, sums = _merge_cells([(part.keys, part.counts, part.sums) for part in filled])
    else:
        keys, counts, sums = parts[0].keys, parts[0].counts, parts[0].sums
    return NumericSummary(
        centre=centres.pop(), keys=keys, counts=counts, sums=sums, n=sum(part.n for part in parts),
        missing=sum(part.missing for part in parts), infinite=sum(part.infinite for part in parts),
        minimum=min((part.minimum for part in filled), default=float("nan")),
        maximum=max((part.maximum for part in filled), default=float("nan")),
        total=sum(part.total for part in parts), total_sq=sum(part.total_sq for part in parts),
        wrong_type=sum(part.wrong_type for part in parts),
        distinct=_merge_distinct([part.distinct for part in filled]),
    )  # fmt: skip


def _merge_distinct(parts: Sequence[Distinct | None]) -> Distinct | None:
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if not known:
        return NO_VALUES
    values = np.concatenate([part.values for part in known])
    counts = np.concatenate([part.counts for part in known])
    is_long = values.size > 2 * MAX_DISTINCT
    if is_long and add_up_distinct(values[: 2 * MAX_DISTINCT], counts[: 2 * MAX_DISTINCT]) is None:
        return None
    return add_up_distinct(values, counts)


def add_up_distinct(values: FloatArray, counts: IntArray) -> Distinct | None:
    """Add up the counts of equal values, and leave out those that come to nothing; None if too many are left."""
    if not values.size:
        return NO_VALUES
    order, starts = _groups(values)
    values, counts = values[order[starts]], np.add.reduceat(counts[order], starts)
    if not counts.all():
        values, counts = values[counts != 0], counts[counts != 0]
    return Distinct(values + 0.0, counts) if values.size <= MAX_DISTINCT else None  # 0.0 turns -0.0 into 0.0


def _squared(offsets: FloatArray) -> float:
    places = range(0, offsets.size, _ROWS_OF_ONE_THREAD)
    parts = (offsets[place : place + _ROWS_OF_ONE_THREAD] for place in places)
    return sum(float(part @ part) for part in parts)


def _keys_of(narrow: NDArray[np.float32]) -> NDArray[np.int32]:
    """Number each value's cell in the order of values: 0x8000 is the cell of the centre itself."""
    bits = narrow.view(np.int32) >> 16
    # The bits of negative floats count their magnitude upwards; flipping them makes them ascend.
    return (bits ^ ((bits >> 31) & 0x7FFF)) + 0x8000


def cells_of(offsets: FloatArray) -> KeyArray:
    """Return the cells of values on the grid, relative to their centre."""
    return _keys_of(offsets.astype(np.float32)).astype(np.uint16)


class _SortedTally:
    """Counts the cells of a small column, which is a single chunk."""

    def __init__(self) -> None:
        self.values = self.offsets = np.empty(0)

    def add(self, values: FloatArray, offsets: FloatArray) -> None:
        self.values, self.offsets = values, offsets

    def cells(self) -> Cells:
        keys = cells_of(self.offsets)
        self.order, self.starts = _groups(keys)
        if not keys.size:
            return keys, np.empty(0, dtype=np.int64), self.offsets
        ones = np.ones(keys.size, dtype=np.int64)
        self.counts = np.add.reduceat(ones, self.starts)
        return (
            keys[self.order[self.starts]],
            self.counts,
            np.add.reduceat(self.offsets[self.order], self.starts),
        )

    def values_of_cells(self) -> FloatArray | None:
        """Return the value of each cell; None where one has several."""
        ordered = self.values[self.order]
        if self.starts.size == ordered.size:
            return ordered
        values = ordered[self.starts]
        return values if (values.repeat(self.counts) == ordered).all() else None


class _Room(local):
    """Where a thread counts large columns, one after another: fresh pages would cost more than the counting."""

    def __init__(self) -> None:
        self.table = np.empty(_GRID_CELLS, dtype=np.complex128)
        self.offsets = np.empty(_CHUNK_ROWS)
        self.rows = np.ones(_CHUNK_ROWS, dtype=np.complex128)
        self.narrow = np.empty(_CHUNK_ROWS, dtype=np.float32)
        self.bits = np.empty(_CHUNK_ROWS, dtype=np.uint32)
        self.cell_of = np.empty(_CHUNK_ROWS, dtype=np.intp)
        self.values = np.empty(_GRID_CELLS)


_room = _Room()


class _TableTally:
    """Counts the cells of a large column in a table of the whole grid, in the order of the floats' own bits.

    Counts are the real parts and sums the imaginary ones: one walk over the rows adds both.
    """

    def __init__(self) -> None:
        self.table = _room.table
        self.table[:] = 0
        self.values: FloatArray | None = None
        self.has_several = False

    def add(self, values: FloatArray, offsets: FloatArray) -> None:
        n = offsets.size
        rows, narrow, cell_of = _room.rows[:n], _room.narrow[:n], _room.cell_of[:n]
        rows.imag = offsets
        narrow[:] = offsets
        cell_of[:] = np.right_shift(narrow.view(np.uint32), 16, out=_room.bits[:n])
        # Straight into the table: np.bincount would make one as long as a chunk's cells lie apart.
        np.add.at(self.table, cell_of, rows)
        self._note_values(values, cell_of)

    def _note_values(self, values: FloatArray, cell_of: IntArray) -> None:
        """Keep a value of each cell, until one turns out to have several: mostly the first rows show it."""
        if self.values is None:
            self.values = _room.values
            some, cells = values[:_SAMPLED_ROWS], cell_of[:_SAMPLED_ROWS]
            self.values[cells] = some
            self.has_several = not (self.values[cells] == some).all()
            if not self.has_several:
                self.values[:] = np.nan
                self.values[cells] = some
        if self.has_several:
            return
        differs = self.values[cell_of] != values
        if differs.any():
            others, cells = values[differs], cell_of[differs]
            is_new = np.isnan(self.values[cells])
            self.values[cells[is_new]] = others[is_new]
            self.has_several = not (self.values[cells] == others).all()

    def values_of_cells(self) -> FloatArray | None:
        """Return the value of each cell; None where one has several."""
        return None if self.has_several or self.values is None else self.values[self.occupied]

    def cells(self) -> Cells:
        occupied = np.flatnonzero(self.table.real)
        keys = np.where(occupied < 0x8000, occupied + 0x8000, 0xFFFF - occupied).astype(np.uint16)
        order = keys.argsort()
        self.occupied = occupied[order]
        found = self.table[self.occupied]
        return keys[order], found.real.astype(np.int64), found.imag.copy()


def _merge_cells(parts: Sequence[Cells]) -> Cells:
    if len(parts) == 2:
        few, many = sorted(parts, key=lambda cells: cells[0].size)
        if few[0].size * _FEW_CELLS <= many[0].size:
            return _add_few_cells(many, few)
    keys, counts, sums = zip(*parts, strict=True)
    return add_up_cells(np.concatenate(keys), np.concatenate(counts), np.concatenate(sums))


def _add_few_cells(many: Cells, few: Cells) -> Cells:
    """Add a few cells to many without sorting them all again."""
    keys, counts, sums = many[0], many[1].copy(), many[2].copy()
    places = keys.searchsorted(few[0])
    is_known = keys[np.minimum(places, keys.size - 1)] == few[0]
    counts[places[is_known]] += few[1][is_known]
    sums[places[is_known]] += few[2][is_known]
    if is_known.all():
        return keys, counts, sums
    new_keys, new_counts, new_sums = (column[~is_known] for column in few)
    before = places[~is_known]
    return (
        np.insert(keys, before, new_keys),
        np.insert(counts, before, new_counts),
        np.insert(sums, before, new_sums),
    )


def add_up_cells(keys: KeyArray, counts: IntArray, sums: FloatArray) -> Cells:
    if not keys.size:
        return keys, counts, sums
    order, starts = _groups(keys)
    return (
        keys[order[starts]],
        np.add.reduceat(counts[order], starts),
        np.add.reduceat(sums[order], starts),
    )


def _groups(ids: KeyArray | FloatArray) -> tuple[IntArray, IntArray]:
    """Return an order in which ids ascend, and where in it each different one begins."""
    order = ids.argsort(kind="stable")
    ordered = ids[order]
    is_first = np.empty(ids.size, dtype=bool)
    is_first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    return order, np.flatnonzero(is_first)


@dataclass(frozen=True, slots=True)
class CategoricalSummary:
    """Counts of a categorical column by the text of its levels.

    Exact up to 5,000 levels; beyond that the most frequent 5,000 are kept and `rest` counts the others.
    `n` counts values that are present, `rest` included; `wrong_type` counts values that are no texts where only
    texts were expected, and they are not among `n`.
    """

    counts: dict[str, int]
    rest: int
    missing: int
    n: int
    wrong_type: int = 0

    @property
    def rows(self) -> int:
        """Every value seen, those that are missing or no texts included."""
        return self.n + self.missing + self.wrong_type

    @property
    def exact(self) -> bool:
        """Whether every level is still counted by name."""
        return self.rest == 0

    def merge(self, other: CategoricalSummary) -> CategoricalSummary:
        """Add `other`, as if both columns had been summarised as one."""
        return merge_categories([self, other])


def summarise_categories(values: Iterable[Any]) -> CategoricalSummary:
    """Summarise a column of categories; None and NaN are missing, other values count under their text.

    >>> summarise_categories(["a", "b", "a", None]).counts
    {'a': 2, 'b': 1}
    """
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    return count_categories(Counter(listed))


def summarise_texts(values: ArrayLike) -> CategoricalSummary:
    """Summarise a column of texts; None and NaN are missing, and any other value is of the wrong type.

    >>> summary = summarise_texts(np.array(["a", None, 2.0, "a"], object))
    >>> summary.counts, summary.missing, summary.wrong_type
    ({'a': 2}, 1, 1)
    """
    counts, missing, wrong_type = Counter[str](), 0, 0
    for value, count in Counter(np.asarray(values).ravel().tolist()).items():
        if isinstance(value, str):
            counts[value] += count
        elif value is None or value != value:
            missing += count
        else:
            wrong_type += count
    return _keep_frequent(dict(counts), rest=0, missing=missing, wrong_type=wrong_type)


def count_categories(counted: Mapping[Any, int]) -> CategoricalSummary:
    """Build a summary from counts by level, as a dictionary-encoded column gives them."""
    counts: dict[str, int] = {}
    missing = 0
    for level, count in counted.items():
        if level is None or level != level:
            missing += count
        elif type(level) is str:
            counts[level] = counts.get(level, 0) + count
        else:
            counts[str(level)] = counts.get(str(level), 0) + count
    return _keep_frequent(counts, rest=0, missing=missing)


def merge_categories(parts: Sequence[CategoricalSummary]) -> CategoricalSummary:
    """Add up summaries of the same feature."""
    if len(parts) == 1:
        return parts[0]
    counts: dict[str, int] = {}
    for part in parts:
        for level, count in part.counts.items():
            counts[level] = counts.get(level, 0) + count
    return _keep_frequent(
        counts,
        rest=sum(part.rest for part in parts),
        missing=sum(part.missing for part in parts),
        wrong_type=sum(part.wrong_type for part in parts),
    )


def _keep_frequent(
    counts: dict[str, int], *, rest: int, missing: int, wrong_type: int = 0
) -> CategoricalSummary:
    n = sum(counts.values()) + rest
    if len(counts) > MAX_LEVELS:
        # Ties break by name, so that the order of rows or of merges cannot decide who stays.
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        counts = dict(ranked[:MAX_LEVELS])
        rest = n - sum(counts.values())
    return CategoricalSummary(counts=counts, rest=rest, missing=missing, n=n, wrong_type=wrong_type)
