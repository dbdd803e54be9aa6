"""How far apart a metric lies between the groups that a declared segment makes, such as one region and another."""

from collections.abc import Iterable, Sequence

from inference.prediction_log.models import PredictionRole
from monitors.metrics.answers.performance import describe_estimate
from monitors.metrics.context import MeasuredWindow
from monitors.metrics.store.models import MEASURED, MetricPoint, PointStatus
from monitors.metrics.store.points import Point, Population
from monitors.stats.performance.estimate import Estimate
from monitors.stats.performance.gaps import widest_gap

COMPARED = ("accuracy", "precision", "recall", "mae")


def measure_gaps(measured: MeasuredWindow) -> list[tuple[Population, Point]]:
    """Compare the groups of each declared segment by the points that were measured of them."""
    everybody = Population(PredictionRole.CHAMPION, "")
    return [(everybody, point) for point in gap_points(measured.points, measured.context.segments.features)]


def gap_points(rows: Iterable[MetricPoint], features: Sequence[str]) -> list[Point]:
    """Measure the gaps of a window from its segments' points; the point's feature is the one that makes the groups.

    Only groups that may be judged are compared. Where others still wait for labels the gap does as well, and with
    fewer than two there are too few rows.
    """
    by_group: dict[tuple[str, str], dict[str, MetricPoint]] = {}
    for row in rows:
        if row.metric in COMPARED and row.segment and (row.role, row.version) == ("champion", ""):
            for feature in features:
                name = row.segment.removeprefix(f"{feature}:")
                if name != row.segment:
                    by_group.setdefault((row.metric, feature), {})[name] = row
    return [_gap(metric, feature, groups) for (metric, feature), groups in by_group.items()]


def _gap(metric: str, feature: str, groups: dict[str, MetricPoint]) -> Point:
    judged = {
        name: Estimate(row.value, row.n, row.lower, row.upper)
        for name, row in groups.items()
        if row.status in MEASURED
    }
    gap = widest_gap(judged)
    is_unripe = any(row.status == PointStatus.UNRIPE for row in groups.values())
    if gap is None:
        status = PointStatus.UNRIPE if is_unripe else PointStatus.INSUFFICIENT
        return Point(f"{metric}_gap", None, 0, status, feature=feature)
    return Point(
        f"{metric}_gap",
        gap.estimate.value,
        gap.estimate.n,
        PointStatus.UNRIPE if is_unripe else PointStatus.OK,
        feature=feature,
        lower=gap.estimate.lower,
        upper=gap.estimate.upper,
        detail=describe_estimate(gap.estimate) | {"highest": gap.highest, "lowest": gap.lowest},
    )
