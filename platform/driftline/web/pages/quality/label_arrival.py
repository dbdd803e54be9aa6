"""What the page on performance says of the labels themselves: how late they come, and for which answers."""

from dataclasses import replace

from driftline.base.number_format import format_number
from driftline.web.charts.svg import Chart, ChartLine, Dot, Mark, milestones
from driftline.web.pages import queries
from driftline.web.pages.timerange import TimeRange
from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint

HOUR_S = 3_600


def lag_chart(model: Model, chosen: TimeRange, marks: list[Mark], span: str) -> Chart:
    """Draw the time from a prediction to its label, in hours."""
    looks = {"label_lag_p95": "main", "label_lag_p50": "third"}
    points = queries.judged_points(model, looks, chosen.start, chosen.end, span=span)
    lines = [
        ChartLine(name.removeprefix("label_lag_"), _in_hours(points.get(name, [])), look)
        for name, look in looks.items()
    ]
    newest = lines[0].dots[-1] if lines[0].dots else None
    summary = (
        f"95 % of the newest window's labels came within {format_number(newest.value)} hours."
        if newest and newest.value is not None
        else "No labels yet."
    )
    return Chart(
        id="label_lag", title="Label lag", summary=summary, start=chosen.start, end=chosen.end, series=lines,
        unit="hours", compact=True, from_zero=True,
        marks=milestones(marks),
    )  # fmt: skip


def _in_hours(points: list[MetricPoint]) -> list[Dot]:
    return [
        replace(
            dot,
            value=None if dot.value is None else dot.value / HOUR_S,
            threshold=None if dot.threshold is None else dot.threshold / HOUR_S,
        )
        for dot in queries.dots(points)
    ]


def coverage_by_class(model: Model, chosen: TimeRange, span: str) -> list[MetricPoint]:
    """Return the newest window's label coverage of each predicted class, the most frequent first."""
    metric = "label_coverage_by_class"
    points = queries.judged_points(model, [metric], chosen.start, chosen.end, span=span).get(metric, [])
    newest = max((point.start for point in points), default=None)
    return sorted((point for point in points if point.start == newest), key=lambda point: -point.n)
