"""The metrics that people define: their values from the sums that the summaries hold."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from monitors.definitions.models import CUSTOM, CUSTOM_OF_LABELS, CustomMetric
from monitors.metrics.answers.performance import describe_estimate, ripeness_of
from monitors.metrics.context import MeasuredSummary
from monitors.metrics.store.models import PointStatus
from monitors.metrics.store.points import Point
from monitors.stats.expressions.estimates import estimate_metric
from monitors.stats.mergeable.expression_sums import ExpressionSums

_TOO_NEW = (
    "{of} rows of this window were read by the expression; it is newer than the others, which are not kept."
)
_LEFT_OUT = "All rows that were chosen lack a value, such as one that is missing or a division by zero."


def measure_custom(measured: MeasuredSummary) -> list[Point]:
    """Measure the custom metrics that need no labels, in every segment."""
    rows = measured.segment.summary.rows
    status = PointStatus.OK if rows else PointStatus.NO_DATA
    return list(_points(measured, CUSTOM, rows, status, {}))


def measure_custom_of_labels(measured: MeasuredSummary) -> list[Point]:
    """Measure the custom metrics of labelled rows, which may be judged once the window is ripe."""
    summary, ripeness = measured.segment.summary, ripeness_of(measured)
    coverage = summary.labelled / summary.rows if summary.rows else 0.0
    status = ripeness.status(end=measured.window.end, coverage=coverage, labelled=summary.labelled)
    detail = {"coverage": round(coverage, 4)}
    return list(_points(measured, CUSTOM_OF_LABELS, summary.labelled, status, detail))


def _points(
    measured: MeasuredSummary, metric: str, rows: int, status: str, detail: dict[str, Any]
) -> Iterator[Point]:
    for custom, sums in _with_sums(measured.context.custom, metric, measured.segment.summary.custom):
        yield _point(custom, sums, measured.window.length.total_seconds() / 3600, rows, status, detail)


def _with_sums(
    defined: Iterable[CustomMetric], metric: str, stored: Mapping[str, ExpressionSums]
) -> Iterator[tuple[CustomMetric, ExpressionSums]]:
    """Yield those that the rows were summarised by; of the others nothing is known here."""
    for custom in defined:
        if custom.metric == metric and custom.key in stored:
            yield custom, stored[custom.key]


def _point(
    custom: CustomMetric, sums: ExpressionSums, hours: float, rows: int, status: str, detail: dict[str, Any]
) -> Point:
    estimate = estimate_metric(custom.parsed, sums, hours)
    detail = detail | describe_estimate(estimate)
    if sums.left_out:
        detail["left_out"] = sums.left_out
    if sums.rows < rows:
        status = PointStatus.INSUFFICIENT
        detail["why"] = _TOO_NEW.format(of=f"{sums.rows:,} of {rows:,}")
    elif estimate.value is None:
        status = PointStatus.NO_DATA if status == PointStatus.OK else status
        detail |= {"why": _LEFT_OUT} if sums.left_out else {}
    return Point(
        custom.metric, estimate.value, estimate.n, status, feature=custom.name,
        lower=estimate.lower, upper=estimate.upper, detail=detail,
    )  # fmt: skip
