"""Which rows are worse than the others, and were not before: a search over segments that holds its false discoveries.

What may be tried is fixed by the columns alone (`segment_conditions`): every cell of a column, every run of a number's
cells, and every pair of coarse cells of two columns. Each is tested against all other rows, and where there are rows
of an earlier, quiet period, against its own usual excess over the others there, and against its own loss there: a
segment that was always harder is no news, nor is one that stayed as it was while the others got better. Both tests
have to hold (Berger, Technometrics 24, 1982). Rows of one hour resemble each other, so the error is the larger one of
two, over rows and over blocks of time left out one by one (`blocks`), with no more degrees of freedom than the segment
has blocks.

Benjamini and Hochberg (1995) hold the false discovery rate over all that is tried, single columns and pairs with half
of the weight each (Genovese, Roeder and Wasserman, Biometrika 93, 2006). Intervals are those of Benjamini and
Yekutieli (JASA 100, 2005) for parameters that a selection chose: one lies above 0 wherever its segment is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from monitors.stats.blocks import MIN_BLOCKS
from monitors.stats.segment_conditions import Cells, Condition, cut_columns
from monitors.stats.sketches import FloatArray, IntArray

RATE = 0.05
LEAST_ROWS, LEAST_SHARE, MOST_SHARE = 50, 0.01, 0.75  # of a segment, in the window
LEAST_USUAL = 30  # rows of a segment in the earlier period, if it has any there
MOST_PAIRED = 24  # columns
COARSE = 4  # cells of a number in a pair
COARSE_LEVELS = 12
_ROUNDING = 1e-9
MOST_LOOKED_THROUGH, MOST_FOUND = 200, 10


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """Rows with what each came to: its `loss` (finite, more is worse) and the number of its `block` of time.

    `columns` hold texts as objects or numbers as floats.
    """

    columns: Mapping[str, NDArray[Any]]
    loss: FloatArray
    block: IntArray

    def __len__(self) -> int:
        return int(self.loss.size)


@dataclass(frozen=True, slots=True)
class FoundSegment:
    """A segment that is worse. Losses are means a row.

    `excess` is `inside` less `outside` and less the `usual` excess of the earlier period (None where there is no such
    period or the segment has no rows in it); `lower` and `upper` bound it at 95 %, also after the selection.
    `p_value` is adjusted for all that was tried. `harm` is how much less the mean loss of the whole window would be
    without the excess, `harm_lower` at least, and `share` its part of the rise since the earlier period.
    """

    conditions: tuple[Condition, ...]
    n: int
    inside: float
    outside: float
    usual: float | None
    excess: float
    lower: float
    upper: float
    p_value: float
    harm: float
    harm_lower: float
    share: float | None

    @property
    def name(self) -> str:
        return " and ".join(map(str, self.conditions))

    @property
    def single(self) -> tuple[str, str] | None:
        """The feature and its value where that is all that the segment is."""
        first = self.conditions[0]
        return (first.feature, first.value) if len(self.conditions) == 1 and first.value is not None else None


@dataclass(frozen=True, slots=True)
class SegmentFindings:
    """The found segments, the most harmful first, of `tried` ones in `n` rows; mean losses of both periods."""

    found: tuple[FoundSegment, ...]
    tried: int
    n: int
    mean: float | None
    usual_mean: float | None


def search_segments(
    window: ScoredRows, usual: ScoredRows | None = None, *, rate: float = RATE, most_paired: int = MOST_PAIRED
) -> SegmentFindings:
    """Find the segments of a window that are worse than the rest by more than they were in `usual`, and than there.

    `rate` is the expected share of false ones among those found, at most. Only the first `most_paired` columns are
    tried in pairs: put those first that matter. A segment has at least 50 rows and 1 %, and at most 75 % of the rows.

    They are ranked by the harm that is sure: excess times rows, at its lower bound. One that is no worse once the rows
    of more harmful ones are set aside is left out.
    """
    if not len(window):
        return SegmentFindings((), 0, 0, None, None)
    usual = usual if usual is not None and len(usual) else None
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what is not finite is not found
        field = _Field.lay_out(window, usual)
        families = [_tried(field, batches) for batches in (_singles(field), _pairs(field, most_paired))]
        discovered = _discovered([one for promising, _ in families for one in promising], rate)
        found = _without_subsumed(field, discovered, rate)
        return SegmentFindings(
            tuple(_told(field, found, rate)),
            sum(count for _, count in families),
            len(window),
            float(window.loss.mean()),
            float(usual.loss.mean()) if usual is not None else None,
        )


# -- the rows in cells -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _Side:
    """The losses of a period's rows, their blocks numbered without gaps, and which of these rows count."""

    loss: FloatArray
    block: IntArray
    blocks: int
    codes: list[IntArray]

    @classmethod
    def of(cls, rows: ScoredRows, codes: list[IntArray]) -> _Side:
        names, block = np.unique(rows.block, return_inverse=True)
        return cls(rows.loss, block.astype(np.int64), names.size, codes)

    def take(self, keep: NDArray[np.bool_]) -> _Side:
        return _Side(self.loss[keep], self.block[keep], self.blocks, [codes[keep] for codes in self.codes])

    def tables(self, cells: IntArray, size: int) -> _Tables:
        """Add up rows and losses by cell and block; rows in cell -1 are in none."""
        inside = cells >= 0
        place = cells[inside] * self.blocks + self.block[inside]
        loss, shape = self.loss[inside], (size, self.blocks)
        return _Tables(
            np.bincount(place, minlength=size * self.blocks).astype(np.float64).reshape(shape),
            np.bincount(place, loss, size * self.blocks).reshape(shape),
            np.bincount(cells[inside], loss * loss, size),
        )

    def whole(self) -> _Tables:
        return self.tables(np.zeros(self.loss.size, np.int64), 1)


@dataclass(frozen=True, eq=False)
class _Tables:
    """Of segments, a row each: how many rows and what losses by block, and the sum of squared losses."""

    rows: FloatArray
    losses: FloatArray
    squares: FloatArray

    def runs(self, ranges: Sequence[tuple[int, int]]) -> _Tables:
        """Add up runs of cells."""
        first, last = np.array(ranges, np.int64).reshape(-1, 2).T
        return _Tables(*(_sums(table, first, last) for table in (self.rows, self.losses, self.squares)))


def _sums(table: FloatArray, first: IntArray, last: IntArray) -> FloatArray:
    running = np.concatenate([np.zeros_like(table[:1]), np.cumsum(table, axis=0)])
    return running[last + 1] - running[first]


@dataclass(frozen=True, eq=False)
class _Field:
    """Both periods in the same cells, with the sums of all their rows."""

    cells: list[Cells]
    window: _Side
    usual: _Side | None
    whole: _Tables
    usual_whole: _Tables | None
    least: int

    @classmethod
    def lay_out(cls, window: ScoredRows, usual: ScoredRows | None) -> _Field:
        n = len(window)
        least = max(LEAST_ROWS, int(np.ceil(LEAST_SHARE * n)))
        cells = cut_columns(_together(window, usual), least=least)
        sides = [_Side.of(window, [one.codes[:n] for one in cells])]
        if usual is not None:
            sides.append(_Side.of(usual, [one.codes[n:] for one in cells]))
        return cls.over(cells, sides[0], sides[1] if usual is not None else None, least)

    @classmethod
    def over(cls, cells: list[Cells], window: _Side, usual: _Side | None, least: int) -> _Field:
        return cls(cells, window, usual, window.whole(), usual.whole() if usual else None, least)

    def without(self, segments: Sequence[_Segment]) -> _Field:
        """Set the rows of segments aside, in both periods."""
        window = self.window.take(~_union(self.window, segments))
        usual = self.usual.take(~_union(self.usual, segments)) if self.usual else None
        return _Field.over(self.cells, window, usual, self.least)


def _together(window: ScoredRows, usual: ScoredRows | None) -> dict[str, NDArray[Any]]:
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
class _Segment:
    """Ranges of cells, one a column: its number, the first and the last cell."""

    ranges: tuple[tuple[int, int, int], ...]

    def mask(self, side: _Side) -> NDArray[np.bool_]:
        inside = [
            (side.codes[column] >= first) & (side.codes[column] <= last)
            for column, first, last in self.ranges
        ]
        return np.logical_and.reduce(inside)


def _union(side: _Side, segments: Sequence[_Segment]) -> NDArray[np.bool_]:
    return np.logical_or.reduce([segment.mask(side) for segment in segments])


@dataclass(frozen=True, eq=False)
class _Batch:
    """Some segments and their sums in both periods."""

    segments: list[_Segment]
    window: _Tables
    usual: _Tables | None


def _singles(field: _Field) -> list[_Batch]:
    return [_single(field, column, cells) for column, cells in enumerate(field.cells)]


def _single(field: _Field, column: int, cells: Cells) -> _Batch:
    ranges = cells.ranges()

    def tables(side: _Side) -> _Tables:
        return side.tables(side.codes[column], cells.size).runs(ranges)

    segments = [_Segment(((column, first, last),)) for first, last in ranges]
    return _Batch(segments, tables(field.window), tables(field.usual) if field.usual else None)


def _pairs(field: _Field, most_paired: int) -> list[_Batch]:
    coarse = []
    for column, cells in enumerate(field.cells[:most_paired]):
        ranges = cells.coarse_ranges(COARSE if cells.is_ordered else COARSE_LEVELS)
        number = np.full(cells.size + 1, -1)  # the last is of code -1
        for place, (first, last) in enumerate(ranges):
            number[first : last + 1] = place
        coarse.append((column, ranges, number))
    return [_pair(field, *pair) for pair in combinations(coarse, 2)]


type _Coarse = tuple[int, list[tuple[int, int]], IntArray]


def _pair(field: _Field, left: _Coarse, right: _Coarse) -> _Batch:
    width, size = len(right[1]), len(left[1]) * len(right[1])

    def tables(side: _Side) -> _Tables:
        rows, columns = left[2][side.codes[left[0]]], right[2][side.codes[right[0]]]
        return side.tables(np.where((rows >= 0) & (columns >= 0), rows * width + columns, -1), size)

    segments = [_Segment(((left[0], *one), (right[0], *other))) for one in left[1] for other in right[1]]
    return _Batch(segments, tables(field.window), tables(field.usual) if field.usual else None)


# -- the test ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class _Excesses:
    """How much segments lose a row, `inside`, and how much more than the rest of a period; with both variances."""

    n: FloatArray
    inside: FloatArray
    outside: FloatArray
    variance: FloatArray
    inside_variance: FloatArray
    freedom: FloatArray

    @property
    def value(self) -> FloatArray:
        return self.inside - self.outside


def _excesses(some: _Tables, whole: _Tables) -> _Excesses:
    """Compare segments with the rest; 0 or all rows give NaN."""
    rest = _Tables(whole.rows - some.rows, whole.losses - some.losses, whole.squares - some.squares)
    (n, inside, own, own_moved), (_, outside, other, other_moved) = map(_mean, (some, rest))
    filled = whole.rows[0] > 0
    is_blocked = int(filled.sum()) >= MIN_BLOCKS
    freedom = n - 1
    inside_variance, variance = own, own + other
    if is_blocked:
        inside_variance = np.maximum(own, _jackknife(own_moved[:, filled]))
        variance = np.maximum(variance, _jackknife((own_moved - other_moved)[:, filled]))
        freedom = n**2 / (some.rows**2).sum(axis=1) - 1  # as many as equal blocks would give
    rounding = (_ROUNDING * (np.abs(inside) + np.abs(outside))) ** 2  # of sums of equal losses
    return _Excesses(
        n, inside, outside, variance + rounding, inside_variance + rounding, np.maximum(freedom, 0.0)
    )


def _mean(tables: _Tables) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Give the rows, their mean loss, its variance over rows, and how far it moves without each block."""
    n = tables.rows.sum(axis=1)
    mean = tables.losses.sum(axis=1) / n
    variance = np.maximum(tables.squares / n - mean**2, 0.0) / (n - 1)
    moved = (mean[:, None] * tables.rows - tables.losses) / (n[:, None] - tables.rows)
    return n, mean, variance, moved


def _jackknife(moved: FloatArray) -> FloatArray:
    """Estimate a variance from how far an estimate moves without each block, a row each estimate."""
    blocks = moved.shape[1]
    squares: FloatArray = ((moved - moved.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return (blocks - 1) / blocks * squares


@dataclass(frozen=True, eq=False)
class _Tested:
    """Excesses beyond the usual ones, a row each segment; `is_tried` tells which have enough rows."""

    now: _Excesses
    usual: FloatArray  # NaN where the segment has no rows in the earlier period, or there is none
    value: FloatArray
    error: FloatArray
    freedom: FloatArray
    p_value: FloatArray  # 1 where it says nothing
    is_tried: NDArray[np.bool_]


def _test(field: _Field, batch: _Batch) -> _Tested:
    now = _excesses(batch.window, field.whole)
    enough = (now.n >= field.least) & (now.n <= MOST_SHARE * field.whole.rows.sum())
    alone = _p_value(now.value, now.variance, now.freedom)
    if batch.usual is None or field.usual_whole is None:
        usual = np.full(now.n.shape, np.nan)
        return _Tested(now, usual, now.value, np.sqrt(now.variance), now.freedom, alone, enough)
    before = _excesses(batch.usual, field.usual_whole)
    is_new, is_known = before.n == 0, before.n >= LEAST_USUAL
    variance = now.variance + before.variance
    freedom = _freedom(now.variance, now.freedom, before.variance, before.freedom)
    p_value = np.maximum(
        _p_value(now.value - before.value, variance, freedom),
        _p_value(
            now.inside - before.inside,
            now.inside_variance + before.inside_variance,
            _freedom(now.inside_variance, now.freedom, before.inside_variance, before.freedom),
        ),
    )
    return _Tested(
        now,
        np.where(is_new, np.nan, before.value),
        np.where(is_new, now.value, now.value - before.value),
        np.sqrt(np.where(is_new, now.variance, variance)),
        np.where(is_new, now.freedom, freedom),
        np.where(is_new, alone, p_value),
        enough & (is_new | is_known),
    )


def _p_value(value: FloatArray, variance: FloatArray, freedom: FloatArray) -> FloatArray:
    """Tell how probable so much would be without any."""
    p: FloatArray = stdtr(freedom, -value / np.sqrt(variance))
    return np.where(np.isfinite(p), p, 1.0)


def _freedom(one: FloatArray, its: FloatArray, other: FloatArray, others: FloatArray) -> FloatArray:
    """Give the degrees of freedom of a sum of two variances (Welch and Satterthwaite)."""
    freedom: FloatArray = (one + other) ** 2 / (one**2 / its + other**2 / others)
    return freedom


# -- what is found -----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Tried:
    """A segment's test; `weight` times its p-value is what is compared across all that were tried."""

    segment: _Segment
    n: int
    inside: float
    outside: float
    usual: float
    excess: float
    error: float
    freedom: float
    p_value: float
    weight: float

    def half(self, rate: float) -> float:
        """Give half of the interval that lies above 0 wherever the weighted p-value is below `rate`."""
        return -float(stdtrit(self.freedom, rate / self.weight)) * self.error

    def harm_lower(self, rate: float) -> float:
        return (self.excess - self.half(rate)) * self.n


def _tried(field: _Field, batches: Sequence[_Batch]) -> tuple[list[_Tried], int]:
    """Test one of the two families; returns those with some chance to be found, and how many were tried."""
    tested = [(batch, _test(field, batch)) for batch in batches]
    count = sum(int(test.is_tried.sum()) for _, test in tested)
    weight = 2.0 * count
    promising = [
        _row(batch.segments[place], test, place, weight)
        for batch, test in tested
        for place in np.flatnonzero(test.is_tried & (test.p_value < 0.5)).tolist()
    ]
    return promising, count


def _row(segment: _Segment, test: _Tested, place: int, weight: float) -> _Tried:
    return _Tried(
        segment,
        n=int(test.now.n[place]),
        inside=float(test.now.inside[place]),
        outside=float(test.now.outside[place]),
        usual=float(test.usual[place]),
        excess=float(test.value[place]),
        error=float(test.error[place]),
        freedom=float(test.freedom[place]),
        p_value=float(test.p_value[place]),
        weight=weight,
    )


def _discovered(tried: Sequence[_Tried], rate: float) -> list[_Tried]:
    """Keep what Benjamini and Hochberg keep, by weighted p-values: the most whose largest is within rate times them."""
    ordered = sorted(tried, key=lambda one: one.p_value * one.weight)
    kept = [k for k, one in enumerate(ordered, 1) if one.p_value * one.weight <= rate * k]
    return ordered[: kept[-1] if kept else 0]


def _without_subsumed(field: _Field, discovered: Sequence[_Tried], rate: float) -> list[_Tried]:
    """Keep, from the most harmful on, what is still found in the rows that those before it leave.

    Segments that overlap a bad one are bad with it and would make the search sure of chance ones too: the rate is held
    once more over those that are left.
    """
    ranked = sorted(discovered, key=lambda one: (-one.harm_lower(rate), one.segment.ranges))
    kept: list[_Tried] = []
    rest = field
    for one in ranked[:MOST_LOOKED_THROUGH]:
        if len(kept) == MOST_FOUND:
            break
        if not kept or _is_found(rest, one, rate * (len(kept) + 1)):
            kept.append(one)
            rest = field.without([found.segment for found in kept])
    return _discovered(kept, rate)


def _is_found(field: _Field, one: _Tried, rate: float) -> bool:
    tables = [
        side.tables(np.where(one.segment.mask(side), 0, -1), 1) if side else None
        for side in (field.window, field.usual)
    ]
    assert tables[0] is not None
    test = _test(field, _Batch([one.segment], tables[0], tables[1]))
    return bool(test.is_tried[0] and test.p_value[0] * one.weight <= rate)


def _told(field: _Field, found: Sequence[_Tried], rate: float) -> list[FoundSegment]:
    """Write what is left with intervals for as many, the most harmful first."""
    window, usual = field.whole, field.usual_whole
    rows = float(window.rows.sum())
    rise = 0.0
    if usual is not None:
        rise = float(window.losses.sum() / rows - usual.losses.sum() / usual.rows.sum())
    told = []
    for rank, one in enumerate(found, 1):  # by p-value
        half, harm = one.half(rate * len(found)), one.excess * one.n / rows
        told.append(
            FoundSegment(
                conditions=tuple(
                    field.cells[column].condition(first, last) for column, first, last in one.segment.ranges
                ),
                n=one.n,
                inside=one.inside,
                outside=one.outside,
                usual=None if np.isnan(one.usual) else one.usual,
                excess=one.excess,
                lower=one.excess - half,
                upper=one.excess + half,
                p_value=min(
                    other.p_value * other.weight / k for k, other in enumerate(found, 1) if k >= rank
                ),
                harm=harm,
                harm_lower=(one.excess - half) * one.n / rows,
                share=min(harm / rise, 1.0) if rise > 0 else None,
            )
        )
    return sorted(told, key=lambda one: (-one.harm_lower, one.name))
