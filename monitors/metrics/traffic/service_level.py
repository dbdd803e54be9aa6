"""How much was asked and how fast it was answered."""

from dataclasses import replace
from datetime import timedelta

from monitors.metrics.context import MeasuredSummary
from monitors.metrics.store.points import Point, judged_by_rows
from monitors.stats.mergeable.window_summary import WindowSummary

MIN_LATENCIES = 20
PERCENTILES = {"latency_p50": 0.50, "latency_p95": 0.95, "latency_p99": 0.99}


def measure_service_level(measured: MeasuredSummary) -> list[Point]:
    """Measure the volume and latency of all rows of a version, or of all that callers were answered.

    An hour of too few rows to judge has no latency: there may be as many such hours as rows.
    """
    if not measured.segment.is_whole:
        return []
    summary = measured.segment.summary
    if measured.span == "hour" and summary.latency_ms is not None and summary.latency_ms.n < MIN_LATENCIES:
        summary = replace(summary, latency_ms=None)
    return service_points(
        summary,
        length=measured.window.length,
        latency_objective_ms=measured.context.model.objectives.get("latency_p99_ms"),
    )


def service_points(
    summary: WindowSummary, *, length: timedelta, latency_objective_ms: float | None
) -> list[Point]:
    """Measure rows, rows a second, and latency percentiles in ms."""
    points = [
        Point("count", float(summary.rows), summary.rows),
        Point("throughput", summary.rows / length.total_seconds(), summary.rows),
    ]
    latency = summary.latency_ms
    if latency is None or latency.n == 0:
        return points
    for metric, q in PERCENTILES.items():
        value = float(latency.quantile(q))
        limit = latency_objective_ms if metric == "latency_p99" else None
        status = judged_by_rows(value, latency.n, MIN_LATENCIES)
        if status == "ok" and limit is not None and value > limit:
            status = "warning"
        points.append(Point(metric, value, latency.n, status, threshold=limit))
    return points
