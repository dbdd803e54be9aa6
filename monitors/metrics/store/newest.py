"""The newest judged points of many models, for those who watch a fleet from outside.

`MetricPoint` unpacks the points of one model well; of a thousand models it would unpack a million to show a few of
each. Here one question unpacks only what is shown.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from driftline.base.periods import longest
from monitors.definitions.models import Monitor
from monitors.metrics.catalogue import METRICS, Measure, measure_of
from monitors.metrics.store.models import STATUS_CODES, PointStatus

_RAISED = [STATUS_CODES.index(status) for status in (PointStatus.WARNING, PointStatus.CRITICAL)]
_SPANS_OF = {measure_of(name): metric.spans for name, metric in METRICS.items() if metric.spans}
"""The spans of measures that have some alone, the longest first; the last one stands for shorter ones."""
_MEASURES = {
    kind: sorted({measure_of(name) for name, metric in METRICS.items() if metric.kind == kind})
    for kind in {metric.kind for metric in METRICS.values()}
}

# A look into an index for each row, however long the history is, and one for the names of its points; names that are
# always shown have an index of their own, of which the planner sees the condition. Adding an empty array unpacks a
# long one once, where each point of it would unpack it again. Points are materialised before they are sorted, which
# would carry the rows' arrays along.
_NEWEST_POINTS = """
WITH points AS MATERIALIZED (
    SELECT r.model_id, r.measure, r.span, r.start, r.segment, e.metric, e.feature, r."values"[e.position] AS value,
        coalesce(r.ns[e.position], r.n) AS n, r.lowers[e.position] AS lower, r.uppers[e.position] AS upper,
        r.thresholds[e.position] AS threshold, get_byte(r.statuses, e.position - 1) AS code
    FROM unnest(%(models)s::bigint[], %(spans)s::text[], %(measures)s::text[], %(segments)s::text[],
        %(until)s::timestamptz[]) AS wanted (model_id, span, measure, segment, until)
    CROSS JOIN LATERAL (
        SELECT p.model_id, p.layout, p.measure, p.span, p.start, p.segment, p.n, p.statuses,
            p."values" || '{}' AS "values", p.ns || '{}' AS ns, p.lowers || '{}' AS lowers, p.uppers || '{}' AS uppers,
            coalesce(p.thresholds, (SELECT l.thresholds FROM monitors_pointlimits l WHERE l.id = p.limits_id)) || '{}'
                AS thresholds
        FROM monitors_packedpoints p
        WHERE p.model_id = wanted.model_id AND p.span = wanted.span AND p.role = 'champion' AND p.version = ''
            AND p.segment = wanted.segment AND p.measure = wanted.measure AND p.start <= wanted.until
            AND position(%(unripe)s::bytea IN p.statuses) = 0
        ORDER BY p.start DESC LIMIT 1
    ) r
    CROSS JOIN LATERAL (
        SELECT position, metric, feature FROM monitors_pointname
        WHERE model_id = r.model_id AND layout = r.layout AND measure = r.measure AND (feature = '' OR metric = 'psi')
        UNION ALL
        SELECT position, metric, feature FROM monitors_pointname
        WHERE model_id = r.model_id AND layout = r.layout AND measure = r.measure AND feature <> '' AND metric <> 'psi'
            AND metric = ANY(%(first)s)
        UNION ALL
        SELECT position, metric, feature FROM monitors_pointname
        WHERE (position(%(warning)s::bytea IN r.statuses) > 0 OR position(%(critical)s::bytea IN r.statuses) > 0)
            AND model_id = r.model_id AND layout = r.layout AND measure = r.measure AND feature <> ''
            AND metric <> 'psi' AND metric <> ALL(%(first)s) AND get_byte(r.statuses, position - 1) = ANY(%(raised)s)
    ) e
    WHERE get_byte(r.statuses, e.position - 1) <> 0
), ranked AS (
    SELECT *, row_number() OVER worst AS place, count(*) OVER (PARTITION BY model_id) AS many
    FROM points WHERE feature <> ''
    WINDOW worst AS (
        PARTITION BY model_id
        ORDER BY metric = ANY(%(first)s) DESC, code = ANY(%(raised)s) DESC,
            value / nullif(threshold, 0) DESC NULLS LAST, feature, metric, segment, span
    )
)
SELECT *, 0 AS place, 0 AS many FROM points WHERE feature = ''
UNION ALL
SELECT * FROM ranked WHERE place <= %(most)s
"""


class NewestPoint(NamedTuple):
    """A metric in the newest closed window that could be judged; status and threshold are the calibrated ones."""

    model_id: int
    measure: str
    span: str
    start: datetime
    segment: str
    metric: str
    feature: str
    value: float | None
    n: int
    lower: float | None
    upper: float | None
    threshold: float | None
    status: str


@dataclass(frozen=True, slots=True)
class WatchedSegment:
    """A segment of which somebody wants a metric by windows of a span."""

    model_id: int
    span: str
    metric: str
    segment: str


@dataclass(frozen=True)
class NewestPoints:
    """Points in no order; and how many of features were left out of each model that has
    too many, by its id."""

    points: list[NewestPoint]
    omitted: dict[int, int]


def newest_points(
    model_ids: Collection[int],
    *,
    first_metrics: Collection[str] = (),
    segments: Iterable[WatchedSegment] = (),
    max_of_features: int,
    now: datetime,
) -> NewestPoints:
    """Read the newest points of models: those of rows as a whole, and at most `max_of_features` of features in each.

    They are of all that callers were answered, in the windows that monitors and rules judge, and of some `segments`. A
    window of which labels are still coming gives way to the one before. Of features there are the psi, which stands for
    the drift of each, the `first_metrics`, and of other metrics what is raised. The `first_metrics` are left out last,
    and of the others first what is within its limit.
    """
    wanted = [*_of_monitors(model_ids), *_of_segments(model_ids, segments)]
    parameters: dict[str, Any] = {
        "models": [model_id for model_id, _, _, _ in wanted],
        "spans": [span for _, span, _, _ in wanted],
        "measures": [measure for _, _, measure, _ in wanted],
        "segments": [segment for _, _, _, segment in wanted],
        "until": [now - longest(span) for _, span, _, _ in wanted],
        "first": list(first_metrics),
        "raised": _RAISED,
        "unripe": bytes([STATUS_CODES.index(PointStatus.UNRIPE)]),
        "warning": bytes(_RAISED[:1]),
        "critical": bytes(_RAISED[1:]),
        "most": max_of_features,
    }
    points: list[NewestPoint] = []
    omitted: dict[int, int] = {}
    with connection.cursor() as cursor:
        cursor.execute(_NEWEST_POINTS, parameters)
        for row in cursor.fetchall():
            code, _, many = row[12:]
            point = NewestPoint(*(*row[:12], STATUS_CODES[code]))
            points.append(point)
            if many > max_of_features:
                omitted[point.model_id] = many - max_of_features
    return NewestPoints(points, omitted)


def _of_monitors(model_ids: Collection[int]) -> Iterable[tuple[int, str, str, str]]:
    """Yield model, span, measure and segment of all rows that monitors may have."""
    for monitor in Monitor.objects.filter(model__in=model_ids, enabled=True).order_by("pk"):
        for measure in _MEASURES[monitor.kind]:
            for span in sorted({_span_of(measure, span) for span in monitor.spans}):
                yield monitor.model_id, span, measure.value, ""


def _of_segments(
    model_ids: Collection[int], segments: Iterable[WatchedSegment]
) -> Iterable[tuple[int, str, str, str]]:
    return sorted(
        {
            (
                one.model_id,
                _span_of(measure_of(one.metric), one.span),
                measure_of(one.metric).value,
                one.segment,
            )
            for one in segments
            if one.model_id in model_ids and one.metric in METRICS and one.segment
        }
    )


def _span_of(measure: Measure, span: str) -> str:
    """Return the span that a measure has points of where a monitor judges another one."""
    spans = _SPANS_OF.get(measure, ())
    return spans[-1] if spans and span not in spans else span
