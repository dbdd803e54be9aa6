"""Faults of one column of a summary, counted: missing values, values outside a range, one value all the time."""

from collections import Counter
from collections.abc import Sequence

from monitors.stats.mergeable.sketches import CategoricalSummary, IntArray, NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary
from monitors.stats.share_limits import DayCounts

MARGIN = 0.5  # of the reference's range: a new extreme is no fault, a new unit is
DAYS_OF_STUCK = 7  # days that tell how often a feature has one value all day, as a weekday has


def count_missing(column: ColumnSummary) -> int:
    return column.missing + (column.infinite if isinstance(column, NumericSummary) else 0)


def share_of_mode(column: ColumnSummary) -> float | None:
    """Return the share of the most frequent value among those that are there; None where none is.

    Of a number with too many different values to know each, those of one cell of the grid count as one.
    """
    counts = column.known_values()[1] if isinstance(column, NumericSummary) else list(column.counts.values())
    return _largest_share(counts, column.n)


def share_of_cell(column: ColumnSummary) -> float | None:
    """Return the share of the most frequent value or, of numbers, that of the fullest cell, which is no less."""
    return (
        _largest_share(column.counts, column.n)
        if isinstance(column, NumericSummary)
        else share_of_mode(column)
    )


def _largest_share(counts: Sequence[int] | IntArray, n: int) -> float | None:
    return float(max(counts)) / n if n and len(counts) else None


def count_faults(days: Sequence[WindowSummary]) -> dict[tuple[str, str], DayCounts]:
    """Count by metric and feature how many rows of each day of a reference have a fault, held against all other days.

    A stormy day has pressures below those of all other days, and a failing sensor its gaps: what the reference knows
    of is no fault. Nothing where there are fewer than two days.
    """
    counts: dict[tuple[str, str], DayCounts] = {}
    for name in {name for day in days for name in day.features} if len(days) > 1 else ():
        columns = [day.features[name] for day in days if name in day.features]
        rows = [column.rows for column in columns]
        counts["missing_share", name] = DayCounts.of([count_missing(column) for column in columns], rows)
        if len(columns) >= DAYS_OF_STUCK:
            known = [column.n for column in columns]
            for metric, share_of in (("mode_share", share_of_mode), ("cell_share", share_of_cell)):
                modes = [(share_of(column) or 0.0) * column.n for column in columns]
                counts[metric, name] = DayCounts.of(modes, known)
        numeric = [column for column in columns if isinstance(column, NumericSummary) and column.n]
        categorical = [column for column in columns if isinstance(column, CategoricalSummary)]
        if len(numeric) > 1:
            rows = [column.rows for column in numeric]
            counts["out_of_range_share", name] = DayCounts.of(_outside_others(numeric), rows)
        if len(categorical) > 1:
            rows = [column.rows for column in categorical]
            counts["unseen_share", name] = DayCounts.of(_unseen_by_others(categorical), rows)
    return counts


def _outside_others(days: Sequence[NumericSummary]) -> list[int]:
    """Count the rows of each day outside the range of the others, widened by the margin at both ends.

    Only days of an extreme have one.
    """
    lowest = sorted(range(len(days)), key=lambda place: days[place].minimum)
    highest = sorted(range(len(days)), key=lambda place: -days[place].maximum)
    outside = [0] * len(days)
    for place in {lowest[0], highest[0]}:
        least = days[lowest[1] if place == lowest[0] else lowest[0]].minimum
        most = days[highest[1] if place == highest[0] else highest[0]].maximum
        beyond = MARGIN * (most - least)
        outside[place] = days[place].count_beyond(least - beyond, most + beyond)
    return outside


def _unseen_by_others(days: Sequence[CategoricalSummary]) -> list[int]:
    """Count the rows of each day that have levels which no other day has."""
    held = Counter(level for day in days for level in day.counts)
    return [sum(count for level, count in day.counts.items() if held[level] == 1) for day in days]
