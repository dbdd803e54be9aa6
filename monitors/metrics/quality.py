"""Data quality of each feature: what is missing, never seen before, or out of the reference's range."""

from collections import Counter
from collections.abc import Mapping, Sequence

from monitors.metrics.points import Point, count_of_features, judged_by_rows
from monitors.stats.sketches import CategoricalSummary, NumericSummary
from monitors.stats.window_summary import ColumnSummary, WindowSummary

FLOOR = 0.02  # a share below this is no fault, whatever the reference says
TOLERANCE = 0.05  # how much worse than its reference a feature may be
WORSE = 1.25  # times the worst of the reference's days: of a few weeks' days the next may be worse by chance
MOST = 0.9  # a day of the reference that was broken as a whole excuses no other
MARGIN = 0.5  # of the reference's range: a new extreme is no fault, a new unit is

type Shares = Mapping[tuple[str, str], float]
"""A share of rows by metric and feature."""


def quality_points(
    summary: WindowSummary, reference: WindowSummary | None, worst: Shares, *, min_rows: int
) -> list[Point]:
    """Measure missing, unseen and out-of-range shares of each feature; a limit needs a reference.

    `worst` is what single days of the reference showed (`worst_days`). With a reference, `faulty_features` counts the
    features beyond their limits.
    """
    points: list[Point] = []
    for name, column in summary.features.items():
        known = reference.features.get(name) if reference else None
        for metric, share in _shares(column, known).items():
            limit = _limit(metric, name, known, worst)
            status = judged_by_rows(share, column.rows, min_rows)
            if status == "ok" and limit is not None and share > limit:
                status = "critical" if share > 0.5 + limit / 2 else "warning"
            points.append(Point(metric, share, column.rows, status, feature=name, threshold=limit))
    if reference is None:
        return points
    return [*points, count_of_features("faulty_features", points, summary.rows, min_rows)]


def worst_days(days: Sequence[WindowSummary]) -> dict[tuple[str, str], float]:
    """Find the largest shares that single days of a reference show, each held against all the others.

    A stormy day has pressures below those of all other days, and a failing sensor its gaps: what the reference knows
    of is no fault. Nothing where there are fewer than two days.
    """
    worst: dict[tuple[str, str], float] = {}
    for name in {name for day in days for name in day.features} if len(days) > 1 else ():
        columns = [day.features[name] for day in days if name in day.features]
        worst["missing_share", name] = max(_missing(column) / max(column.rows, 1) for column in columns)
        numeric = [column for column in columns if isinstance(column, NumericSummary) and column.n]
        categorical = [column for column in columns if isinstance(column, CategoricalSummary)]
        if len(numeric) > 1:
            worst["out_of_range_share", name] = _most_outside_others(numeric)
        if len(categorical) > 1:
            worst["unseen_share", name] = _most_unseen_by_others(categorical)
    return worst


def _limit(metric: str, feature: str, known: ColumnSummary | None, worst: Shares) -> float | None:
    if known is None:
        return None
    usual = _missing(known) / max(known.rows, 1) if metric == "missing_share" else 0.0
    on_worst_day = min(WORSE * worst.get((metric, feature), 0.0) + TOLERANCE, MOST)
    return max(FLOOR, usual + TOLERANCE, on_worst_day)


def _shares(column: ColumnSummary, known: ColumnSummary | None) -> dict[str, float]:
    rows = max(column.rows, 1)
    shares = {"missing_share": _missing(column) / rows}
    if isinstance(column, CategoricalSummary) and isinstance(known, CategoricalSummary) and known.exact:
        unseen = sum(count for level, count in column.counts.items() if level not in known.counts)
        shares["unseen_share"] = unseen / rows
    if isinstance(column, NumericSummary) and isinstance(known, NumericSummary) and known.n:
        shares["out_of_range_share"] = _outside(column, known.minimum, known.maximum) / rows
    return shares


def _missing(column: ColumnSummary) -> int:
    return column.missing + (column.infinite if isinstance(column, NumericSummary) else 0)


def _outside(column: NumericSummary, least: float, most: float) -> int:
    margin = MARGIN * (most - least)
    outside = (column.positions < least - margin) | (column.positions > most + margin)
    return int(column.counts[outside].sum())


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
