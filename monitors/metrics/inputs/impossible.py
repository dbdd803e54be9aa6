"""Values that a feature cannot have by its reference, or hardly: noticed from the first row on.

Nothing is measured where the reference does not tell how far a feature reaches (`monitors.stats.impossible_values`).
What somebody expects of a feature is plausible, too. Impossible values are a fault once repeated; implausible ones are
shown and no more, as heavy tails have them. Rows that are further out than the reference, but plausible, are drift,
however many they are.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from driftline.base.periods import end_of, window
from driftline.base.work.work_rows import touch
from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole
from inference.registry.models import Model
from inference.vector_names import whole_of
from monitors.definitions.models import Expectation
from monitors.metrics.catalogue import measure_of
from monitors.metrics.context import MeasuredSummary
from monitors.metrics.store.models import MetricPoint, PackedPoints, PointStatus
from monitors.metrics.store.points import Point
from monitors.stats.impossible_values import ValueRange, ValueReach
from monitors.stats.mergeable.sketches import NumericSummary
from monitors.stats.mergeable.window_summary import ColumnSummary, merge_stored
from monitors.summaries.models import StaleWindow, Summary

METRIC = "impossible_share"

type Window = tuple[str, datetime]
"""Span and start."""

type Earlier = Callable[[str], Sequence[NumericSummary]]
"""Reads a feature's column in the window before; empty where there is none."""


def measure_impossible(measured: MeasuredSummary) -> list[Point]:
    """Measure the share of each feature's rows that cannot be, all that callers were answered taken together."""
    reference = measured.reference
    if reference is None:
        return []
    return impossible_points(
        measured.segment.summary.features,
        reference.summary.features,
        reference.reaches,
        expected=measured.context.expected,
        earlier=_columns_before(measured),
    )


def impossible_points(
    features: Mapping[str, ColumnSummary],
    reference: Mapping[str, ColumnSummary],
    reaches: Mapping[str, ValueReach],
    *,
    expected: Mapping[str, Expectation],
    earlier: Earlier,
) -> list[Point]:
    """Measure the share of each feature's rows beyond what is plausible; one row is a notice, and needs no others."""
    points = []
    of_vectors = whole_of(features)
    for name, column in features.items():
        known = reference.get(name)
        if name in of_vectors or name not in reaches or not isinstance(column, NumericSummary):
            continue
        assert isinstance(known, NumericSummary)
        wanted = expected.get(name)
        reach = reaches[name].including(wanted.least, wanted.most) if wanted else reaches[name]
        detail = _odd_rows(name, column, known, reach.plausible, kind="implausible")
        if rows := reach.possible.count_beyond(column):
            detail = _odd_rows(name, column, known, reach.possible, kind="impossible")
            before = rows == 1 and any(reach.possible.count_beyond(one) for one in earlier(name))
            detail["is_repeated"] = rows > 1 or before
        points.append(_point(name, column, detail))
    return points


def touch_following(model: Model, rows: Iterable[MetricPoint], windows: Collection[Window]) -> None:
    """Schedule windows after some of `windows` to be measured again where these say something else to them than before.

    That is which features have impossible values: what is repeated depends on it. It is called in the transaction that
    stores the new `rows`, before they replace the stored ones.
    """
    whole = MetricPoint.objects.filter(
        model=model, metric=METRIC, role=PredictionRole.CHAMPION, version="", segment="",
        span__in={span for span, _ in windows}, start__in={start for _, start in windows},
    )  # fmt: skip
    now = [row for row in rows if row.metric == METRIC and not (row.version or row.segment)]
    stored, measured = _said_to_next(whole), _said_to_next(now)
    following = {
        (span, end_of(start, span))
        for span, start in windows
        if stored.get((span, start)) != measured.get((span, start))
    }
    later = PackedPoints.objects.filter(
        model=model, measure=measure_of(METRIC), segment="", start__in={start for _, start in following}
    )
    known = following.intersection(later.values_list("span", "start")).difference(windows)
    touch(StaleWindow, [(model.pk, *window) for window in known], fields=("model_id", "span", "start"))


def _said_to_next(points: Iterable[MetricPoint]) -> dict[Window, set[str]]:
    """List the features of each window that have impossible values."""
    said: dict[Window, set[str]] = {}
    for point in points:
        if "is_repeated" in (point.detail or {}):
            said.setdefault((point.span, point.start), set()).add(point.feature)
    return said


def is_repeated(point: Point) -> bool:
    """Return whether impossible values are a fault, and no single one that may have come by accident."""
    return bool(point.detail.get("is_repeated"))


def _point(feature: str, column: NumericSummary, detail: dict[str, Any]) -> Point:
    if not column.rows:
        return Point(METRIC, None, 0, PointStatus.NO_DATA, feature=feature)
    status = PointStatus.WARNING if detail else PointStatus.OK
    share = detail.get("rows", 0) / column.rows
    return Point(METRIC, share, column.rows, status, feature=feature, threshold=0.0, detail=detail)


def _odd_rows(
    feature: str, column: NumericSummary, known: NumericSummary, allowed: ValueRange, *, kind: str
) -> dict[str, Any]:
    """Describe the values beyond a range; empty where there is none."""
    rows = allowed.count_beyond(column)
    if not rows:
        return {}
    value = allowed.furthest(column)
    return {
        "kind": kind,
        "value": value,
        "rows": rows,
        "least": allowed.least,
        "most": allowed.most,
        "why": f"{feature} {value:g} in {rows:,} of {column.rows:,} rows; "
        f"reference {known.minimum:g} to {known.maximum:g}",
    }


def _columns_before(measured: MeasuredSummary) -> Earlier:
    """Make what reads columns of the window before: its summaries once, when a feature first asks for them.

    A month stands for its days alone where a month is asked for: it says nothing of any one of them.
    """
    before = window(measured.window.start - timedelta(microseconds=1), measured.span)
    parts = {"hour": ("hour",), "month": ("day", "month")}.get(measured.span, ("day",))

    @cache
    def features() -> Mapping[str, ColumnSummary]:
        summaries = Summary.objects.filter(
            model=measured.context.model,
            span__in=parts,
            start__gte=before.start,
            start__lt=before.end,
            segment="",
            role__in=ANSWERING_ROLES,
        )
        stored = [bytes(payload) for payload in summaries.values_list("payload", flat=True)]
        return merge_stored(stored, with_outcomes=False)[0].features

    def column_of(feature: str) -> list[NumericSummary]:
        column = features().get(feature)
        return [column] if isinstance(column, NumericSummary) else []

    return column_of
