"""Data quality of each feature: what is missing, of the wrong type, unseen, out of range, impossible, or stuck.

What is usual is learnt from the reference and its days; what somebody expects of a feature goes before it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import scipy

from inference.vector_names import norm_of, whole_of
from monitors.definitions.models import Expectation, Reference
from monitors.metrics.context import MeasuredSummary
from monitors.metrics.impossible import is_repeated, measure_impossible
from monitors.metrics.points import Point, count_of_features, judged_by_rows
from monitors.metrics.references.loaded import annotate_reference
from monitors.stats.column_faults import MARGIN, MEDIAN_MODE, count_missing, share_of_mode
from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary

FLOOR = 0.02  # a share below this is no fault, whatever the reference says
TOLERANCE = 0.05  # how much worse than its reference a feature may be
WORSE = 1.25  # times the worst of the reference's days, at least: the next day may be worse by chance
MAX_WORSE = 3.0  # times that day at most, which is reached at 16 days: more would blind
RETURN_DAYS = 1_000  # in how many days chance may pass a limit once
MAX_REFERENCE_SHARE = 0.9  # a day of the reference that was broken as a whole excuses no other
STUCK = 0.9  # of the way from the usual share of the most frequent value to all rows
BY_CHANCE = 1e-6  # how likely rows of the usual kind may be alike, for their being so to count as a fault

type Shares = Mapping[tuple[str, str], float]
"""A share of rows by metric and feature."""


def measure_quality(measured: MeasuredSummary) -> list[Point]:
    """Measure the data quality of all that callers were answered, beside the reference where there is one."""
    segment, reference = measured.segment, measured.reference
    if not (segment.is_champion and segment.is_whole):
        return []
    points = quality_points(
        segment.summary,
        reference.summary if reference else None,
        _worst_days(measured),
        days=len(reference.dates) if reference else 0,
        expected=measured.context.expected,
        min_rows=measured.monitor.min_rows,
        impossible=measure_impossible(measured),
    )
    return annotate_reference(points, reference) if reference else points


def _worst_days(measured: MeasuredSummary) -> Shares:
    """Return the largest shares of the reference's days; of an hour they say less, as all its rows may be alike."""
    reference = measured.reference
    if reference is None:
        return {}
    if measured.span != "hour" or reference.kind == Reference.Kind.SAME_HOURS:
        return reference.worst_days
    return {
        key: share
        for key, share in reference.worst_days.items()
        if key[0] not in ("mode_share", "cell_share")
    }


def quality_points(
    summary: WindowSummary,
    reference: WindowSummary | None,
    worst: Shares,
    *,
    days: int,
    expected: Mapping[str, Expectation],
    min_rows: int,
    impossible: Sequence[Point] = (),
) -> list[Point]:
    """Measure the shares of each feature's rows that are missing, of the wrong type, unseen, out of range, or alike.

    A limit needs a reference, or somebody who expects something, but for values of the wrong type: a single one is
    worth a warning. `worst` is what single days of the reference, `days` in all, showed (`worst_days`).
    `faulty_features` counts the features beyond their limits; one with fewer values of the wrong type than other
    faults may have is not among them, nor one with a single value of the `impossible` ones. Repeated ones count
    however few the rows are.
    """
    points: list[Point] = []
    vector_of = whole_of(summary.features)
    for name, column in summary.features.items():
        subject = vector_of.get(name, name)
        if name != subject and name != norm_of(subject):
            continue  # a vector is missing or odd as a whole, which its length tells
        known, wanted = reference.features.get(name) if reference else None, expected.get(subject)
        for metric, share in fault_shares(column, known, wanted).items():
            if metric == "wrong_type_share":
                points.append(_wrong_type(share, column.rows, subject, min_rows))
                continue
            said = None if wanted is None else _expected_limit(metric, column, wanted)
            limit = _usual_limit(metric, name, column, known, worst, days) if said is None else said
            status = judged_by_rows(share, column.rows, min_rows)
            if status == "ok" and limit is not None and share > limit:
                is_worst = metric != "mode_share" and share > 0.5 + limit / 2
                status = "critical" if is_worst else "warning"
            detail = {} if said is None else {"why": "as somebody expects of this feature"}
            points.append(
                Point(metric, share, column.rows, status, feature=subject, threshold=limit, detail=detail)
            )
    repeated = [point for point in impossible if is_repeated(point)]
    counted = [point for point in points if not _is_stray(point)]
    enough = 1 if repeated else min_rows
    faulty = count_of_features("faulty_features", [*counted, *repeated], summary.rows, enough)
    return [*points, *impossible, faulty]


def _wrong_type(share: float, rows: int, feature: str, min_rows: int) -> Point:
    """Judge values of the wrong type: no reference excuses one."""
    status = judged_by_rows(share, rows, min_rows)
    if status == "ok" and share:
        status = "critical" if share > 0.5 else "warning"
    return Point("wrong_type_share", share, rows, status, feature=feature, threshold=0.0)


def _is_stray(point: Point) -> bool:
    """Tell whether so few values are of the wrong type that the feature itself is no faulty input."""
    return point.metric == "wrong_type_share" and (point.value or 0.0) <= FLOOR


def _usual_limit(
    metric: str, feature: str, column: ColumnSummary, known: ColumnSummary | None, worst: Shares, days: int
) -> float | None:
    """Give the largest share that the reference, its days and some more explain; None without a reference."""
    if known is None:
        return None
    if metric == "mode_share":
        if isinstance(column, NumericSummary) and column.distinct is None:
            return _stuck_limit(column, worst.get(("cell_share", feature), 1.0))
        on_worst_day = worst.get((metric, feature), 1.0)
        excess = on_worst_day - worst.get((MEDIAN_MODE, feature), on_worst_day)
        return _mode_limit(column, on_worst_day, (times_worst_day(days) - 1) * excess + TOLERANCE)
    usual = count_missing(known) / max(known.rows, 1) if metric == "missing_share" else 0.0
    worse = _worse_than(worst.get((metric, feature), 0.0), times=times_worst_day(days))
    return max(FLOOR, usual + TOLERANCE, min(worse, MAX_REFERENCE_SHARE))


@lru_cache(maxsize=1_000)
def times_worst_day(days: int) -> float:
    """Return by which factor the worst of `days` days is to be raised, so that a day passes it once in `RETURN_DAYS`.

    Of shares that fall off exponentially, a day passes t times the worst of n days with probability n B(n, t + 1), the
    mean of exp(-t m) over their largest value m.
    """
    low, high = WORSE, MAX_WORSE
    while high - low > 0.01:
        times = (low + high) / 2
        log_odds = math.log(max(days, 1)) + _log_beta(max(days, 1), times + 1)
        low, high = (low, times) if log_odds < -math.log(RETURN_DAYS) else (times, high)
    return high


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _worse_than(on_worst_day: float, *, times: float = WORSE) -> float:
    return times * on_worst_day + TOLERANCE


def _expected_limit(metric: str, column: ColumnSummary, wanted: Expectation) -> float | None:
    is_number = isinstance(column, NumericSummary)
    if metric == "missing_share":
        return wanted.missing_share
    if metric == "out_of_range_share" and is_number and wanted.has_range:
        return wanted.tolerance
    if metric == "unseen_share" and not is_number and wanted.categories is not None:
        return wanted.tolerance
    return None


def _mode_limit(column: ColumnSummary, on_worst_day: float, more: float) -> float | None:
    """Give the share of one value that neither the worst of the days and some `more` nor chance among so many rows
    explains.

    Where days come near to a single value it lies where a feature that stands still is still found, and nowhere where
    chance would do that. As often as on the worst day there may be 1 / `on_worst_day` values (Bonferroni).
    """
    stuck, rows = _stuck_limit(column, on_worst_day), column.rows
    if stuck is None or on_worst_day <= 0:
        return stuck
    by_chance = (float(scipy.special.bdtrik(1 - BY_CHANCE * on_worst_day, rows, on_worst_day)) + 1) / rows
    return min(max(_worse_than(on_worst_day), on_worst_day + more, by_chance), stuck)


def _stuck_limit(column: ColumnSummary, on_worst_day: float) -> float | None:
    """Call a feature stuck that has one value nearly always, where its days never did and chance would not do it.

    So few of its numbers lie in other cells of the grid, which are the coarser the further out they lie.
    """
    by_chance = max(on_worst_day, 0.5) ** column.rows
    return on_worst_day + STUCK * (1 - on_worst_day) if by_chance < BY_CHANCE else None


def fault_shares(
    column: ColumnSummary, known: ColumnSummary | None, wanted: Expectation | None
) -> dict[str, float]:
    """Return the share of a column's rows that has each fault, by its metric."""
    rows = max(column.rows, 1)
    shares = {"missing_share": count_missing(column) / rows, "wrong_type_share": column.wrong_type / rows}
    if (mode := share_of_mode(column)) is not None:
        shares["mode_share"] = mode
    if isinstance(column, CategoricalSummary) and (levels := _levels(known, wanted)) is not None:
        unseen = sum(count for level, count in column.counts.items() if level not in levels)
        shares["unseen_share"] = unseen / rows
    if isinstance(column, NumericSummary) and (edges := _range(known, wanted)) is not None:
        shares["out_of_range_share"] = column.count_beyond(*edges) / rows
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
