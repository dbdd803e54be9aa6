"""Which rows are worse than the others, and were not before: a search over segments that holds its false discoveries.

Each segment that may be tried (`tables.py`) is tested against all other rows, and where there are rows
of an earlier, quiet period, against its own usual excess over the others there, and against its own loss there: a
segment that was always harder is no news, nor is one that stayed as it was while the others got better. Both tests
have to hold (Berger, Technometrics 24, 1982). Rows of one hour resemble each other, so the error is the larger one of
two, over rows and over blocks of time left out one by one (as in `performance/blocks.py`), with no more degrees of
freedom than the segment has blocks. What is found of all that is tried, `discovery.py` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray, IntArray
from monitors.stats.performance.blocks import MIN_BLOCKS
from monitors.stats.segments.conditions import RowCondition, name_of
from monitors.stats.segments.discovery import (
    MAX_PAIRED_COLUMNS,
    RATE,
    Ranked,
    Tested,
    discover,
    freedom_of_sum,
    jackknife,
    p_value_of,
)
from monitors.stats.segments.tables import Field, RowBatch, Tables

MIN_ROWS, MIN_SHARE, MAX_SHARE = 50, 0.01, 0.75  # of a segment, in the window
MIN_USUAL_ROWS = 30  # rows of a segment in the earlier period, if it has any there
_ROUNDING = 1e-9


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

    conditions: tuple[RowCondition, ...]
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
        return name_of(self.conditions)


@dataclass(frozen=True, slots=True)
class SegmentFindings:
    """The found segments, the most harmful first, of `tried` ones in `n` rows; mean losses of both periods."""

    found: tuple[FoundSegment, ...]
    tried: int
    n: int
    mean: float | None
    usual_mean: float | None


def search_segments(
    window: ScoredRows,
    usual: ScoredRows | None = None,
    *,
    rate: float = RATE,
    most_paired: int = MAX_PAIRED_COLUMNS,
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
        field = Field.lay_out(window, usual, least=max(MIN_ROWS, int(np.ceil(MIN_SHARE * len(window)))))
        found, tried = discover(field, _test, rate=rate, most_paired=most_paired)
        return SegmentFindings(
            _found_segments(field, found),
            tried,
            len(window),
            float(window.loss.mean()),
            float(usual.loss.mean()) if usual is not None else None,
        )


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


def _excesses(some: Tables, whole: Tables) -> _Excesses:
    """Compare segments with the rest; 0 or all rows give NaN."""
    rest = Tables(whole.rows - some.rows, whole.losses - some.losses, whole.squares - some.squares)
    (n, inside, own, own_moved), (_, outside, other, other_moved) = map(_mean, (some, rest))
    filled = whole.rows[0] > 0
    is_blocked = int(filled.sum()) >= MIN_BLOCKS
    freedom = n - 1
    inside_variance, variance = own, own + other
    if is_blocked:
        inside_variance = np.maximum(own, jackknife(own_moved[:, filled]))
        variance = np.maximum(variance, jackknife((own_moved - other_moved)[:, filled]))
        freedom = n**2 / (some.rows**2).sum(axis=1) - 1  # as many as equal blocks would give
    rounding = (_ROUNDING * (np.abs(inside) + np.abs(outside))) ** 2  # of sums of equal losses
    return _Excesses(
        n, inside, outside, variance + rounding, inside_variance + rounding, np.maximum(freedom, 0.0)
    )


def _mean(tables: Tables) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the rows, their mean loss, its variance over rows, and how far it moves without each block."""
    n = tables.rows.sum(axis=1)
    mean = tables.losses.sum(axis=1) / n
    variance = np.maximum(tables.squares / n - mean**2, 0.0) / (n - 1)
    moved = (mean[:, None] * tables.rows - tables.losses) / (n[:, None] - tables.rows)
    return n, mean, variance, moved


def _test(field: Field, batch: RowBatch) -> Tested:
    now = _excesses(batch.window, field.whole)
    enough = (now.n >= field.least) & (now.n <= MAX_SHARE * field.whole.rows.sum())
    alone = p_value_of(now.value, now.variance, now.freedom)
    if batch.usual is None or field.usual_whole is None:
        return Tested(now.value, np.sqrt(now.variance), now.freedom, alone, now.n, enough)
    before = _excesses(batch.usual, field.usual_whole)
    is_new, is_known = before.n == 0, before.n >= MIN_USUAL_ROWS
    variance = now.variance + before.variance
    freedom = freedom_of_sum(now.variance, now.freedom, before.variance, before.freedom)
    p_value = np.maximum(
        p_value_of(now.value - before.value, variance, freedom),
        p_value_of(
            now.inside - before.inside,
            now.inside_variance + before.inside_variance,
            freedom_of_sum(now.inside_variance, now.freedom, before.inside_variance, before.freedom),
        ),
    )
    return Tested(
        np.where(is_new, now.value, now.value - before.value),
        np.sqrt(np.where(is_new, now.variance, variance)),
        np.where(is_new, now.freedom, freedom),
        np.where(is_new, alone, p_value),
        now.n,
        enough & (is_new | is_known),
    )


# -- what is found -----------------------------------------------------------------------------------------------------
def _found_segments(field: Field, found: Sequence[Ranked]) -> tuple[FoundSegment, ...]:
    """Write what was found with the losses of both periods."""
    if not found:
        return ()
    batch, rows, rise = field.batch_of([one.segment for one in found]), float(field.whole.rows.sum()), 0.0
    now, usual = _excesses(batch.window, field.whole), np.full(len(found), np.nan)
    if batch.usual is not None and field.usual_whole is not None:
        usual = _excesses(batch.usual, field.usual_whole).value
        rise = float(_mean(field.whole)[1][0] - _mean(field.usual_whole)[1][0])
    return tuple(
        FoundSegment(
            conditions=one.conditions,
            n=int(n),
            inside=float(inside),
            outside=float(outside),
            usual=None if np.isnan(usually) else float(usually),
            excess=one.excess,
            lower=one.lower,
            upper=one.upper,
            p_value=one.p_value,
            harm=one.excess * n / rows,
            harm_lower=one.lower * n / rows,
            share=min(one.excess * n / rows / rise, 1.0) if rise > 0 else None,
        )
        for one, n, inside, outside, usually in zip(
            found, now.n.tolist(), now.inside, now.outside, usual, strict=True
        )
    )
