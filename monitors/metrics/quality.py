"""Data quality of each feature: what is missing, never seen before, or out of the reference's range."""

from monitors.metrics.points import Point, count_of_features, judged_by_rows
from monitors.stats.sketches import CategoricalSummary, NumericSummary
from monitors.stats.window_summary import ColumnSummary, WindowSummary

FLOOR = 0.02  # a share below this is no fault, whatever the reference says
TOLERANCE = 0.05  # how much worse than its reference a feature may be


def quality_points(summary: WindowSummary, reference: WindowSummary | None, *, min_rows: int) -> list[Point]:
    """Measure missing, unseen and out-of-range shares of each feature; a limit needs a reference.

    With one, `faulty_features` counts those beyond their limits.
    """
    points: list[Point] = []
    for name, column in summary.features.items():
        known = reference.features.get(name) if reference else None
        for metric, share, usual in _shares(column, known):
            limit = None if usual is None else max(FLOOR, usual + TOLERANCE)
            status = judged_by_rows(share, column.rows, min_rows)
            if status == "ok" and limit is not None and share > limit:
                status = "critical" if share > 0.5 + limit / 2 else "warning"
            points.append(Point(metric, share, column.rows, status, feature=name, threshold=limit))
    if reference is None:
        return points
    return [*points, count_of_features("faulty_features", points, summary.rows, min_rows)]


def _shares(column: ColumnSummary, known: ColumnSummary | None) -> list[tuple[str, float, float | None]]:
    rows = max(column.rows, 1)
    shares = [
        ("missing_share", _missing(column) / rows, _missing(known) / max(known.rows, 1) if known else None)
    ]
    if isinstance(column, CategoricalSummary) and isinstance(known, CategoricalSummary) and known.exact:
        unseen = sum(count for level, count in column.counts.items() if level not in known.counts)
        shares.append(("unseen_share", unseen / rows, 0.0))
    if isinstance(column, NumericSummary) and isinstance(known, NumericSummary) and known.n:
        shares.append(("out_of_range_share", _outside(column, known) / rows, 0.0))
    return shares


def _missing(column: ColumnSummary) -> int:
    return column.missing + (column.infinite if isinstance(column, NumericSummary) else 0)


def _outside(column: NumericSummary, known: NumericSummary) -> int:
    """Count values beyond the reference's range widened by a tenth: a new extreme is no fault, a new unit is."""
    margin = 0.1 * (known.maximum - known.minimum)
    outside = (column.positions < known.minimum - margin) | (column.positions > known.maximum + margin)
    return int(column.counts[outside].sum())
