"""Mergeable summaries of one column: the whole of what monitoring remembers about its values.

Numbers are counted on a fixed grid: a value's cell is the top 16 bits of the float32 of `value - centre`
(sign, exponent and 7 bits of mantissa, so a cell is 0.8% of the distance to the centre wide). The grid needs
no reference, so any two windows of a feature merge by addition. Each cell keeps the sum of its values beside
their count: mass then sits at its own mean, which is what makes distances from a summary equal exact ones.
The centre is fixed once per feature; without one the grid would be blind to columns such as N(1e6, 100).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import local
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
KeyArray = NDArray[np.uint16]
type Cells = tuple[KeyArray, IntArray, FloatArray]
"""Keys, ascending; how many values each cell has; and their sum."""

MAX_LEVELS = 5_000

_GRID_CELLS = 1 << 16
_BEYOND = float(np.finfo(np.float32).max) + 2.0**103  # what rounds to a float32 without end
# A column of so many rows is sorted, a longer one counted in a table of all cells: so many at a time that what is
# worked out of them stays in the cache.
_SORTED_ROWS = 8_192
_CHUNK_ROWS = 32_768
_FEW_CELLS = 8  # one part in so many of another is inserted into it, in place of sorting both
_ROWS_OF_ONE_THREAD = 8_192  # of more than 10,000 BLAS would have several threads make a product, which spin


class CentreMismatch(ValueError):
    """Two summaries lie on grids with different centres, so their cells do not coincide."""


@dataclass(frozen=True, eq=False, slots=True)
class NumericSummary:
    """Counts and sums of a numeric column on the float grid around `centre`.

    `keys` ascend with the values; `sums` (per cell), `total` and `total_sq` are of `value - centre`, which
    keeps their precision when the column lies far from zero. `n` counts finite values only; `missing` counts
    NaN and None; `infinite` counts values beyond the range of a float32; `wrong_type` counts values that are
    no numbers, such as texts. `minimum` and `maximum` are NaN when `n` is 0.
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

        Exact when no cell holds different values; else off by less than a cell, 0.8% of the distance to the
        centre. NaN when there are no finite values.
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
        cell = np.searchsorted(np.cumsum(self.counts), rank, side="right")
        inside = self.positions[cell]
        return np.where(rank == 0, self.minimum, np.where(rank == self.n - 1, self.maximum, inside))

    def histogram(self, edges: ArrayLike) -> IntArray:
        """Count values between ascending `edges`, as `numpy.histogram` does: [a, b), the last bin [a, b].

        A cell counts where its mean lies. Values outside the edges are left out.
        """
        counts, _ = np.histogram(
            self.positions,
            bins=np.asarray(edges, dtype=np.float64),
            weights=self.counts,
        )
        return np.rint(counts).astype(np.int64)

    def recentred(self, centre: float) -> NumericSummary:
        """Move the summary to the grid around another centre; each cell moves as one value, its mean."""
        if centre == self.centre:
            return self
        shift = self.centre - centre
        offsets = self.offsets + shift
        keys, counts, sums = add_up_cells(
            _keys_of(offsets.astype(np.float32)).astype(np.uint16), self.counts, offsets * self.counts
        )
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
        tally.add(offsets)
    keys, counts, sums = tally.cells()
    return NumericSummary(
        centre=float(centre), keys=keys, counts=counts, sums=sums,
        n=n, missing=missing - wrong_type, infinite=numbers.size - n - missing,
        minimum=minimum if n else float("nan"), maximum=maximum if n else float("nan"),
        total=float(sums.sum()), total_sq=total_sq, wrong_type=wrong_type,
    )  # fmt: skip


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
    )  # fmt: skip


def _squared(offsets: FloatArray) -> float:
    places = range(0, offsets.size, _ROWS_OF_ONE_THREAD)
    parts = (offsets[place : place + _ROWS_OF_ONE_THREAD] for place in places)
    return sum(float(part @ part) for part in parts)


def _keys_of(narrow: NDArray[np.float32]) -> NDArray[np.int32]:
    """Number each value's cell in the order of values: 0x8000 is the cell of the centre itself."""
    bits = narrow.view(np.int32) >> 16
    # The bits of negative floats count their magnitude upwards; flipping them makes them ascend.
    return (bits ^ ((bits >> 31) & 0x7FFF)) + 0x8000


class _SortedTally:
    """Counts the cells of a small column, which is a single chunk."""

    def __init__(self) -> None:
        self.offsets = np.empty(0)

    def add(self, offsets: FloatArray) -> None:
        self.offsets = offsets

    def cells(self) -> Cells:
        keys = _keys_of(self.offsets.astype(np.float32)).astype(np.uint16)
        return add_up_cells(keys, np.ones(keys.size, dtype=np.int64), self.offsets)


class _Room(local):
    """Where a thread counts large columns, one after another: fresh pages would cost more than the counting."""

    def __init__(self) -> None:
        self.table = np.empty(_GRID_CELLS, dtype=np.complex128)
        self.offsets = np.empty(_CHUNK_ROWS)
        self.rows = np.ones(_CHUNK_ROWS, dtype=np.complex128)
        self.narrow = np.empty(_CHUNK_ROWS, dtype=np.float32)
        self.bits = np.empty(_CHUNK_ROWS, dtype=np.uint32)
        self.cell_of = np.empty(_CHUNK_ROWS, dtype=np.intp)


_room = _Room()


class _TableTally:
    """Counts the cells of a large column in a table of the whole grid, in the order of the floats' own bits.

    Counts are the real parts and sums the imaginary ones: one walk over the rows adds both.
    """

    def __init__(self) -> None:
        self.table = _room.table
        self.table[:] = 0

    def add(self, offsets: FloatArray) -> None:
        n = offsets.size
        rows, narrow, cell_of = _room.rows[:n], _room.narrow[:n], _room.cell_of[:n]
        rows.imag = offsets
        narrow[:] = offsets
        cell_of[:] = np.right_shift(narrow.view(np.uint32), 16, out=_room.bits[:n])
        # Straight into the table: np.bincount would make one as long as a chunk's cells lie apart.
        np.add.at(self.table, cell_of, rows)

    def cells(self) -> Cells:
        occupied = np.flatnonzero(self.table.real)
        keys = np.where(occupied < 0x8000, occupied + 0x8000, 0xFFFF - occupied).astype(np.uint16)
        order = keys.argsort()
        found = self.table[occupied[order]]
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
    order = keys.argsort(kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return (
        ordered[starts],
        np.add.reduceat(counts[order], starts),
        np.add.reduceat(sums[order], starts),
    )


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
