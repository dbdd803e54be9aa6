"""Data quality of each feature: what is missing, of the wrong type, never seen before, out of range, or stuck.

What is usual is learnt from the reference and its days; what somebody expects of a feature goes before it.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from monitors.definitions.models import Expectation
from monitors.metrics.points import Point, count_of_features, judged_by_rows
from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary

FLOOR = 0.02  # a share below this is no fault, whatever the reference says
TOLERANCE = 0.05  # how much worse than its reference a feature may be
WORSE = 1.25  # times the worst of the reference's days: of a few weeks' days the next may be worse by chance
MAX_REFERENCE_SHARE = 0.9  # a day of the reference that was broken as a whole excuses no other
MARGIN = 0.5  # of the reference's range: a new extreme is no fault, a new unit is
STUCK = 0.9  # of the way from the usual share of the most frequent value to all rows
DAYS_OF_STUCK = 7  # days that tell how often a feature has one value all day, as a weekday has
BY_CHANCE = 1e-6  # how likely rows of the usual kind may be alike, for their being so to count as a fault

type Shares = Mapping[tuple[str, str], float]
"""A share of rows by metric and feature."""


def quality_points(
    summary: WindowSummary,
    reference: WindowSummary | None,
    worst: Shares,
    *,
    expected: Mapping[str, Expectation],
    min_rows: int,
) -> list[Point]:
    """Measure the shares of each feature's rows that are missing, of the wrong type, unseen, out of range, or alike.

    A limit needs a reference, or somebody who expects something, but for values of the wrong type: a single one is
    worth a warning. `worst` is what single days of the reference showed (`worst_days`). `faulty_features` counts the
    features beyond their limits; one with fewer values of the wrong type than other faults may have is not among them.
    """
    points: list[Point] = []
    for name, column in summary.features.items():
        known, wanted = reference.features.get(name) if reference else None, expected.get(name)
        for metric, share in _shares(column, known, wanted).items():
            if metric == "wrong_type_share":
                points.append(_wrong_type(share, column.rows, name, min_rows))
                continue
            said = None if wanted is None else _expected_limit(metric, column, wanted)
            limit = _usual_limit(metric, name, column, known, worst) if said is None else said
            status = judged_by_rows(share, column.rows, min_rows)
            if status == "ok" and limit is not None and share > limit:
                is_worst = metric != "mode_share" and share > 0.5 + limit / 2
                status = "critical" if is_worst else "warning"
            detail = {} if said is None else {"why": "as somebody expects of this feature"}
            points.append(
                Point(metric, share, column.rows, status, feature=name, threshold=limit, detail=detail)
            )
    counted = [point for point in points if not _is_stray(point)]
    return [*points, count_of_features("faulty_features", counted, summary.rows, min_rows)]


def _wrong_type(share: float, rows: int, feature: str, min_rows: int) -> Point:
    """Judge values of the wrong type: no reference excuses one."""
    status = judged_by_rows(share, rows, min_rows)
    if status == "ok" and share:
        status = "critical" if share > 0.5 else "warning"
    return Point("wrong_type_share", share, rows, status, feature=feature, threshold=0.0)


def _is_stray(point: Point) -> bool:
    """Tell whether so few values are of the wrong type that the feature itself is no faulty input."""
    return point.metric == "wrong_type_share" and (point.value or 0.0) <= FLOOR


def worst_days(days: Sequence[WindowSummary]) -> dict[tuple[str, str], float]:
    """Find the largest shares that single days of a reference show, each held against all the others.

    A stormy day has pressures below those of all other days, and a failing sensor its gaps: what the reference knows
    of is no fault. Nothing where there are fewer than two days.
    """
    worst: dict[tuple[str, str], float] = {}
    for name in {name for day in days for name in day.features} if len(days) > 1 else ():
        columns = [day.features[name] for day in days if name in day.features]
        worst["missing_share", name] = max(_missing(column) / max(column.rows, 1) for column in columns)
        if len(columns) >= DAYS_OF_STUCK:
            worst["mode_share", name] = max(_mode_share(column) or 0.0 for column in columns)
        numeric = [column for column in columns if isinstance(column, NumericSummary) and column.n]
        categorical = [column for column in columns if isinstance(column, CategoricalSummary)]
        if len(numeric) > 1:
            worst["out_of_range_share", name] = _most_outside_others(numeric)
        if len(categorical) > 1:
            worst["unseen_share", name] = _most_unseen_by_others(categorical)
    return worst


def _usual_limit(
    metric: str, feature: str, column: ColumnSummary, known: ColumnSummary | None, worst: Shares
) -> float | None:
    """Give the largest share that the reference, its days and some more explain; None without a reference."""
    if known is None:
        return None
    if metric == "mode_share":
        return _stuck_limit(column, worst.get((metric, feature), 1.0))
    usual = _missing(known) / max(known.rows, 1) if metric == "missing_share" else 0.0
    on_worst_day = min(WORSE * worst.get((metric, feature), 0.0) + TOLERANCE, MAX_REFERENCE_SHARE)
    return max(FLOOR, usual + TOLERANCE, on_worst_day)


def _expected_limit(metric: str, column: ColumnSummary, wanted: Expectation) -> float | None:
    is_number = isinstance(column, NumericSummary)
    if metric == "missing_share":
        return wanted.missing_share
    if metric == "out_of_range_share" and is_number and wanted.has_range:
        return wanted.tolerance
    if metric == "unseen_share" and not is_number and wanted.categories is not None:
        return wanted.tolerance
    return None


def _stuck_limit(column: ColumnSummary, on_worst_day: float) -> float | None:
    """Call a feature stuck that has one value nearly always, where its days never did and chance would not do it."""
    by_chance = max(on_worst_day, 0.5) ** column.rows
    return on_worst_day + STUCK * (1 - on_worst_day) if by_chance < BY_CHANCE else None


def _shares(
    column: ColumnSummary, known: ColumnSummary | None, wanted: Expectation | None
) -> dict[str, float]:
    rows = max(column.rows, 1)
    shares = {"missing_share": _missing(column) / rows, "wrong_type_share": column.wrong_type / rows}
    if (mode := _mode_share(column)) is not None:
        shares["mode_share"] = mode
    if isinstance(column, CategoricalSummary) and (levels := _levels(known, wanted)) is not None:
        unseen = sum(count for level, count in column.counts.items() if level not in levels)
        shares["unseen_share"] = unseen / rows
    if isinstance(column, NumericSummary) and (edges := _range(known, wanted)) is not None:
        shares["out_of_range_share"] = _beyond(column, *edges) / rows
    return shares


def _levels(known: ColumnSummary | None, wanted: Expectation | None) -> Collection[str] | None:
    if wanted is not None and wanted.categories is not None:
        return frozenset(wanted.categories)
    return known.counts if isinstance(known, CategoricalSummary) and known.exact else None


def _range(known: ColumnSummary | None, wanted: Expectation | None) -> tuple[float, float] | None:
    """Give the least and the largest value that is no fault; a side that nobody speaks of is the reference's."""
    least, most = (wanted.least, wanted.most) if wanted is not None else (None, None)
    if isinstance(known, NumericSummary) and known.n:
        margin = MARGIN * (known.maximum - known.minimum)
        usual = known.minimum - margin, known.maximum + margin
    elif least is None and most is None:
        return None
    else:
        usual = -math.inf, math.inf
    return usual[0] if least is None else least, usual[1] if most is None else most


def _mode_share(column: ColumnSummary) -> float | None:
    """Give the share of the most frequent value among those that are there; None where none is.

    Numbers of one cell of the grid count as one value.
    """
    counts = list(column.counts.values()) if isinstance(column, CategoricalSummary) else column.counts
    return None if column.n == 0 or len(counts) == 0 else float(max(counts)) / column.n


def _missing(column: ColumnSummary) -> int:
    return column.missing + (column.infinite if isinstance(column, NumericSummary) else 0)


def _outside(column: NumericSummary, least: float, most: float) -> int:
    margin = MARGIN * (most - least)
    return _beyond(column, least - margin, most + margin)


def _beyond(column: NumericSummary, least: float, most: float) -> int:
    """Count the values of cells whose mean lies outside; a stored mean is off by some millionths of its distance."""
    if not column.n or (least <= column.minimum and column.maximum <= most):
        return 0
    slack = 1e-6 * np.abs(column.offsets)
    outside = (column.positions < least - slack) | (column.positions > most + slack)
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
