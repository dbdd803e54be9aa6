"""What changed in a column, in words: its largest changes, by how much of the rows each concerns.

A change of a share concerns so many rows. One of a number is measured by what it would move in a normal distribution:
a shift by d standard deviations moves erf(d / sqrt(8)) of the rows, and a width that is r times as wide about
|ln r| / 4 of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from driftline.base.number_format import format_number
from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary

MAX_CLAUSES = 2
MIN_ROWS_MOVED = 0.01
MIN_BESIDE_LARGEST = 1 / 3
MAX_NAME_LENGTH = 40
_WIDTH_MOVES = 0.25
_IQR_OF_NORMAL = 1.349


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """One change as a clause, such as `median 680 → 612`, and the share of the rows that it concerns."""

    clause: str
    moved: float


def describe_change(reference: ColumnSummary, current: ColumnSummary) -> list[str]:
    """Name the largest changes of a column, the largest first; empty where nothing worth a word changed.

    >>> from monitors.stats.mergeable.sketches import summarise_categories
    >>> describe_change(summarise_categories(["a"] * 9 + [None]), summarise_categories(["a"] * 7 + ["b"] * 3))
    ['new category b, 30%', 'a 100% → 70%']
    """
    if not reference.rows or not current.rows:
        return []
    changes = sorted(_changes(reference, current), key=lambda change: -round(change.moved, 9))
    least = max(MIN_ROWS_MOVED, MIN_BESIDE_LARGEST * changes[0].moved) if changes else 0.0
    return [change.clause for change in changes if change.moved >= least][:MAX_CLAUSES]


def _changes(reference: ColumnSummary, current: ColumnSummary) -> Iterator[ColumnChange]:
    yield from _of_share("missing values", _missing(reference), _missing(current))
    wrong = [column.wrong_type / column.rows for column in (reference, current)]
    yield from _of_share("values of the wrong type", *wrong)
    if not reference.n or not current.n:
        return
    if isinstance(reference, NumericSummary) and isinstance(current, NumericSummary):
        yield from _of_numbers(reference, current)
    if isinstance(reference, CategoricalSummary) and isinstance(current, CategoricalSummary):
        yield from _of_categories(reference, current)


def _missing(column: ColumnSummary) -> float:
    return column.missing / column.rows


def _of_share(what: str, before: float, after: float) -> Iterator[ColumnChange]:
    if _percent(before) != _percent(after):
        yield ColumnChange(f"{what} {_percent(before)} → {_percent(after)}", abs(after - before))


def _of_numbers(reference: NumericSummary, current: NumericSummary) -> Iterator[ColumnChange]:
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    before, after = ([float(one) for one in column.quantile(quantiles)] for column in (reference, current))
    spread = (before[3] - before[1]) / _IQR_OF_NORMAL or reference.std
    middle = _shift("median", before[2], after[2], spread) or _shift(
        "mean", reference.mean, current.mean, reference.std
    )
    if middle:
        yield middle
    widths = before[4] - before[0], after[4] - after[0]
    if min(widths) > 0:
        ends = " → ".join(f"{format_number(one[0])} to {format_number(one[4])}" for one in (before, after))
        moved = _WIDTH_MOVES * abs(math.log(widths[1] / widths[0]))
        yield ColumnChange(f"5th to 95th percentile {ends}", min(moved, 1.0))


def _shift(what: str, before: float, after: float, spread: float) -> ColumnChange | None:
    """Describe how far a middle moved; None where both read alike."""
    if format_number(before) == format_number(after):
        return None
    moved = math.erf(abs(after - before) / spread / math.sqrt(8)) if spread > 0 else 1.0
    return ColumnChange(f"{what} {format_number(before)} → {format_number(after)}", moved)


def _of_categories(reference: CategoricalSummary, current: CategoricalSummary) -> Iterator[ColumnChange]:
    for level in sorted(
        {*reference.counts, *current.counts}, key=lambda level: (level in reference.counts, level)
    ):
        before, after = (column.counts.get(level, 0) / column.n for column in (reference, current))
        name = level if len(level) <= MAX_NAME_LENGTH else f"{level[: MAX_NAME_LENGTH - 1]}…"
        if not before and reference.exact:
            yield ColumnChange(f"new category {name}, {_percent(after)}", after)
        else:
            yield from _of_share(name or "(empty)", before, after)


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"
