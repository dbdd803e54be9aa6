"""Data quality of each feature: what is missing, of the wrong type, unseen, out of range, impossible, or stuck.

What is usual is learnt from the reference and its days; what somebody expects of a feature goes before it.
"""

import math
from collections.abc import Collection, Mapping, Sequence

from inference.vector_names import norm_of, whole_of
from monitors.definitions.models import Expectation, Reference
from monitors.metrics.context import MeasuredSummary
from monitors.metrics.inputs.impossible import is_repeated, measure_impossible
from monitors.metrics.references.loaded import annotate_reference
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.store.points import Point, count_of_features, judged_by_rows
from monitors.stats.column_faults import MARGIN, count_missing, share_of_mode
from monitors.stats.mergeable.sketches import CategoricalSummary, NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary
from monitors.stats.share_limits import TOLERANCE, DayCounts, share_limit

FLOOR = 0.02  # values of the wrong type in no more rows are no fault
MAX_REFERENCE_SHARE = 0.9  # a day of the reference that was broken as a whole excuses no other
MOST = 0.5  # of the rows: so many that lie beyond the reference's range have moved, and are not broken
STUCK = 0.9  # of the way from the usual share of the most frequent value to all rows
BY_CHANCE = 1e-6  # how likely rows of the usual kind may be alike, for their being so to count as a fault

type Faults = Mapping[tuple[str, str], DayCounts]
"""How many rows of each day of a reference have a fault, by metric and feature."""


def measure_quality(measured: MeasuredSummary) -> list[Point]:
    """Measure the data quality of all that callers were answered, beside the reference where there is one."""
    segment, reference = measured.segment, measured.reference
    if not (segment.is_champion and segment.is_whole):
        return []
    points = quality_points(
        segment.summary,
        reference.summary if reference else None,
        _faults_of_days(measured),
        expected=measured.context.expected,
        min_rows=measured.monitor.min_rows,
        impossible=measure_impossible(measured),
    )
    return annotate_reference(points, reference) if reference else points


def _faults_of_days(measured: MeasuredSummary) -> Faults:
    """Return what the reference's days show; of an hour they say less, as all its rows may be alike."""
    reference = measured.reference
    if reference is None:
        return {}
    if measured.span != "hour" or reference.kind == Reference.Kind.SAME_HOURS:
        return reference.faults_of_days
    return {
        key: days
        for key, days in reference.faults_of_days.items()
        if key[0] not in ("mode_share", "cell_share")
    }


def quality_points(
    summary: WindowSummary,
    reference: WindowSummary | None,
    days: Faults,
    *,
    expected: Mapping[str, Expectation],
    min_rows: int,
    impossible: Sequence[Point] = (),
) -> list[Point]:
    """Measure the shares of each feature's rows that are missing, of the wrong type, unseen, out of range, or alike.

    A limit needs a reference, or somebody who expects something, but for values of the wrong type: a single one is
    worth a warning. `days` is how often the days of the reference had each fault (`count_faults`).
    `faulty_features` counts the features beyond their limits; one with fewer values of the wrong type than other
    faults may have is not among them, nor one with a mere tie or with a single value of the `impossible` ones. Repeated
    ones count however few the rows are.
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
            limit = _usual_limit(metric, name, column, known, days) if said is None else said
            detail = {} if said is None else {"why": "as somebody expects of this feature"}
            if said is None and metric == "out_of_range_share" and share > MOST:
                limit, detail = (
                    None,
                    {"why": "most rows lie beyond the reference: drift, or a season that it lacks"},
                )
            status = judged_by_rows(share, column.rows, min_rows)
            if status == "ok" and limit is not None and share > limit:
                is_worst = metric != "mode_share" and share > 0.5 + limit / 2
                status = "critical" if is_worst else "warning"
            points.append(
                Point(metric, share, column.rows, status, feature=subject, threshold=limit, detail=detail)
            )
    repeated = [point for point in impossible if is_repeated(point)]
    counted = [point for point in points if not (_is_stray(point) or is_mere_tie(point))]
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
    """Return whether so few values are of the wrong type that the feature itself is no faulty input."""
    return point.metric == "wrong_type_share" and (point.value or 0.0) <= FLOOR


def is_mere_tie(point: Point | MetricPoint) -> bool:
    """Return whether a value is more frequent than it was, while others still come: no feature stands still then."""
    return point.metric == "mode_share" and (point.value or 0.0) <= 0.5 + (point.threshold or 0.0) / 2


def _usual_limit(
    metric: str, feature: str, column: ColumnSummary, known: ColumnSummary | None, days: Faults
) -> float | None:
    """Return the largest share that the reference and chance explain; None without a reference.

    Where a value is nearly always the most frequent one, it lies where a feature that stands still is still found.
    """
    if known is None:
        return None
    if metric == "mode_share":
        if isinstance(column, NumericSummary) and column.distinct is None:
            return _stuck_limit(column, days.get(("cell_share", feature)))
        modes = days.get((metric, feature))
        stuck = _stuck_limit(column, modes)
        return None if stuck is None or modes is None else min(share_limit(modes, column.n), stuck)
    hits = count_missing(known) if metric == "missing_share" else 0
    counts = days.get((metric, feature)) or DayCounts.of([hits], [known.rows])
    return min(share_limit(counts, column.rows), max(MAX_REFERENCE_SHARE, counts.mean + TOLERANCE))


def _expected_limit(metric: str, column: ColumnSummary, wanted: Expectation) -> float | None:
    is_number = isinstance(column, NumericSummary)
    if metric == "missing_share":
        return wanted.missing_share
    if metric == "out_of_range_share" and is_number and wanted.has_range:
        return wanted.tolerance
    if metric == "unseen_share" and not is_number and wanted.categories is not None:
        return wanted.tolerance
    return None


def _stuck_limit(column: ColumnSummary, days: DayCounts | None) -> float | None:
    """Call a feature stuck that has one value nearly always, where its days never did and chance would not do it.

    So few of its numbers lie in other cells of the grid, which are the coarser the further out they lie.
    """
    on_worst_day = 1.0 if days is None else days.worst
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
    """Return the least and the largest value that is no fault; a side that nobody speaks of is the reference's."""
    least, most = (wanted.least, wanted.most) if wanted is not None else (None, None)
    if isinstance(known, NumericSummary) and known.n:
        margin = MARGIN * (known.maximum - known.minimum)
        usual = known.minimum - margin, known.maximum + margin
    elif least is None and most is None:
        return None
    else:
        usual = -math.inf, math.inf
    return usual[0] if least is None else least, usual[1] if most is None else most
