"""Faults of one column of a summary, counted: missing values, values outside a range, one value all the time."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from monitors.stats.mergeable.sketches import CategoricalSummary, IntArray, NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary

MARGIN = 0.5  # of the reference's range: a new extreme is no fault, a new unit is
MEDIAN_MODE = "median_mode_share"
DAYS_OF_STUCK = 7  # days that tell how often a feature has one value all day, as a weekday has


def count_missing(column: ColumnSummary) -> int:
    return column.missing + (column.infinite if isinstance(column, NumericSummary) else 0)


def share_of_mode(column: ColumnSummary) -> float | None:
    """Give the share of the most frequent value among those that are there; None where none is.

    Of a number with too many different values to know each, those of one cell of the grid count as one.
    """
    counts = column.known_values()[1] if isinstance(column, NumericSummary) else list(column.counts.values())
    return _largest_share(counts, column.n)


def share_of_cell(column: ColumnSummary) -> float | None:
    """Give the share of the most frequent value or, of numbers, that of the fullest cell, which is no less."""
    return (
        _largest_share(column.counts, column.n)
        if isinstance(column, NumericSummary)
        else share_of_mode(column)
    )


def _largest_share(counts: Sequence[int] | IntArray, n: int) -> float | None:
    return float(max(counts)) / n if n and len(counts) else None


def worst_days(days: Sequence[WindowSummary]) -> dict[tuple[str, str], float]:
    """Find the largest shares that single days of a reference show, each held against all the others.

    A stormy day has pressures below those of all other days, and a failing sensor its gaps: what the reference knows
    of is no fault. Of the most frequent value the median of the days is there too. Nothing where there are fewer than
    two days.
    """
    worst: dict[tuple[str, str], float] = {}
    for name in {name for day in days for name in day.features} if len(days) > 1 else ():
        columns = [day.features[name] for day in days if name in day.features]
        worst["missing_share", name] = max(count_missing(column) / max(column.rows, 1) for column in columns)
        if len(columns) >= DAYS_OF_STUCK:
            modes = [share_of_mode(column) or 0.0 for column in columns]
            worst["mode_share", name] = max(modes)
            worst[MEDIAN_MODE, name] = median(modes)
            worst["cell_share", name] = max(share_of_cell(column) or 0.0 for column in columns)
        numeric = [column for column in columns if isinstance(column, NumericSummary) and column.n]
        categorical = [column for column in columns if isinstance(column, CategoricalSummary)]
        if len(numeric) > 1:
            worst["out_of_range_share", name] = _most_outside_others(numeric, MARGIN)
            worst["beyond_share", name] = _most_outside_others(numeric, 0.0)
        if len(categorical) > 1:
            worst["unseen_share", name] = _most_unseen_by_others(categorical)
    return worst


def _most_outside_others(days: Sequence[NumericSummary], margin: float) -> float:
    """Give the largest share of a day outside the range of the others, widened by a margin at both ends.

    Only days of an extreme have one.
    """
    lowest = sorted(range(len(days)), key=lambda place: days[place].minimum)
    highest = sorted(range(len(days)), key=lambda place: -days[place].maximum)
    shares = []
    for place in {lowest[0], highest[0]}:
        least = days[lowest[1] if place == lowest[0] else lowest[0]].minimum
        most = days[highest[1] if place == highest[0] else highest[0]].maximum
        beyond = margin * (most - least)
        outside = days[place].count_beyond(least - beyond, most + beyond)
        shares.append(outside / max(days[place].rows, 1))
    return max(shares)


def _most_unseen_by_others(days: Sequence[CategoricalSummary]) -> float:
    """Give the largest share of a day that has levels which no other day has."""
    held = Counter(level for day in days for level in day.counts)
    return max(
        sum(count for level, count in day.counts.items() if held[level] == 1) / max(day.rows, 1)
        for day in days
    )
