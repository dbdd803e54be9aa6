"""Faults of one column of a summary, counted: missing values, values outside a range, one value all the time."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary

MARGIN = 0.5  # of the reference's range: a new extreme is no fault, a new unit is
DAYS_OF_STUCK = 7  # days that tell how often a feature has one value all day, as a weekday has


def count_missing(column: ColumnSummary) -> int:
    return column.missing + (column.infinite if isinstance(column, NumericSummary) else 0)


def share_of_mode(column: ColumnSummary) -> float | None:
    """Give the share of the most frequent value among those that are there; None where none is.

    Numbers of one cell of the grid count as one value.
    """
    counts = list(column.counts.values()) if isinstance(column, CategoricalSummary) else column.counts
    return None if column.n == 0 or len(counts) == 0 else float(max(counts)) / column.n


def count_outside(column: NumericSummary, least: float, most: float) -> int:
    """Count the values of cells with a mean outside; a stored mean is off by some millionths of its distance."""
    if not column.n or (least <= column.minimum and column.maximum <= most):
        return 0
    slack = 1e-6 * np.abs(column.offsets)
    outside = (column.positions < least - slack) | (column.positions > most + slack)
    return int(column.counts[outside].sum())


def worst_days(days: Sequence[WindowSummary]) -> dict[tuple[str, str], float]:
    """Find the largest shares that single days of a reference show, each held against all the others.

    A stormy day has pressures below those of all other days, and a failing sensor its gaps: what the reference knows
    of is no fault. Nothing where there are fewer than two days.
    """
    worst: dict[tuple[str, str], float] = {}
    for name in {name for day in days for name in day.features} if len(days) > 1 else ():
        columns = [day.features[name] for day in days if name in day.features]
        worst["missing_share", name] = max(count_missing(column) / max(column.rows, 1) for column in columns)
        if len(columns) >= DAYS_OF_STUCK:
            worst["mode_share", name] = max(share_of_mode(column) or 0.0 for column in columns)
        numeric = [column for column in columns if isinstance(column, NumericSummary) and column.n]
        categorical = [column for column in columns if isinstance(column, CategoricalSummary)]
        if len(numeric) > 1:
            worst["out_of_range_share", name] = _most_outside_others(numeric)
        if len(categorical) > 1:
            worst["unseen_share", name] = _most_unseen_by_others(categorical)
    return worst


def _outside(column: NumericSummary, least: float, most: float) -> int:
    margin = MARGIN * (most - least)
    return count_outside(column, least - margin, most + margin)


def _most_outside_others(days: Sequence[NumericSummary]) -> float:
    """Give the largest share of a day that lies outside the range of the others; only days of an extreme have one."""
    lowest = sorted(range(len(days)), key=lambda place: days[place].minimum)
    highest = sorted(range(len(days)), key=lambda place: -days[place].maximum)
    shares = []
    for place in {lowest[0], highest[0]}:
        least = days[lowest[1] if place == lowest[0] else lowest[0]].minimum
        most = days[highest[1] if place == highest[0] else highest[0]].maximum
        shares.append(_outside(days[place], least, most) / max(days[place].rows, 1))
    return max(shares)


def _most_unseen_by_others(days: Sequence[CategoricalSummary]) -> float:
    """Give the largest share of a day that has levels which no other day has."""
    held = Counter(level for day in days for level in day.counts)
    return max(
        sum(count for level, count in day.counts.items() if held[level] == 1) / max(day.rows, 1)
        for day in days
    )
