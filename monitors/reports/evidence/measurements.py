"""The sections on what was measured: data quality, drift, performance, and how groups compare."""

from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Max, Min, Q, QuerySet, Sum

from driftline.base.periods import Period, floor
from inference.prediction_log.models import RequestCount
from monitors.definitions.models import MonitorKind
from monitors.definitions.monitors import span_of
from monitors.metrics.answers.quality_effect import main_metric
from monitors.metrics.catalogue import (
    DRIFT_METRICS,
    ESTIMATED,
    JOINT_METRICS,
    METRICS,
    QUALITY_METRICS,
    title_of,
)
from monitors.metrics.limits import PointJudge
from monitors.metrics.store.models import ChangePoint, MetricPoint, PointStatus
from monitors.reports.evidence.rows import ended_in
from monitors.reports.evidence.sections import (
    MAX_TABLE_ROWS,
    EvidenceSection,
    EvidenceSubject,
    EvidenceTable,
    table,
)

_LIMITS = (
    "A window is beyond its limit where its value passes the limit that was calibrated on the reference."
)
_COLUMNS_OF_COUNTS = {
    "metric": "Metric", "feature": "Feature", "windows": "Windows", "judged": "Judged", "beyond": "Beyond the limit",
    "least": "Least value", "most": "Largest value",
}  # fmt: skip
_GAPS = tuple(name for name in METRICS if name.endswith("_gap"))
_BEYOND = (PointStatus.WARNING, PointStatus.CRITICAL)


def data_quality(subject: EvidenceSubject) -> EvidenceSection:
    """Count, by metric and feature, the windows that broke a limit of data quality."""
    points = _points(subject, MonitorKind.QUALITY).filter(metric__in=QUALITY_METRICS)
    return EvidenceSection(
        "data_quality", "Data quality", _opening(subject, MonitorKind.QUALITY), [_counts(points)]
    )


def drift(subject: EvidenceSubject) -> EvidenceSection:
    """Count, by metric and feature, the windows that drifted; and list where the error changed."""
    points = _points(subject, MonitorKind.DRIFT).filter(metric__in=(*DRIFT_METRICS, *JOINT_METRICS))
    return EvidenceSection(
        "drift", "Drift", _opening(subject, MonitorKind.DRIFT), [_counts(points), _change_points(subject)]
    )


def performance(subject: EvidenceSubject) -> EvidenceSection:
    """List the model's metrics window by window with their 95% intervals, and how requests ended."""
    names = [
        name
        for name, metric in METRICS.items()
        if metric.kind == MonitorKind.PERFORMANCE
        and not metric.has_feature
        and metric.is_of_task(subject.model.task)
    ]
    points = _points(subject, MonitorKind.PERFORMANCE)
    main = main_metric(subject.model)
    return EvidenceSection(
        "performance",
        "Performance",
        [
            f"{title_of(main)} is the metric that the model is judged by. Intervals are of 95%.",
            *_opening(subject, MonitorKind.PERFORMANCE)[:1],
            *_describe_hours(subject.period),
        ],
        [
            _values(subject, "The metric that the model is judged by", points.filter(metric=main)),
            _values(
                subject,
                "Other metrics against labels",
                points.filter(metric__in=[name for name in names if name not in (main, *ESTIMATED)]),
            ),
            _values(subject, "Estimates without labels", points.filter(metric__in=ESTIMATED)),
            _requests(subject),
        ],
    )


def fairness(subject: EvidenceSubject) -> EvidenceSection:
    """Compare groups: the gaps between the values of a feature, and the main metric in each segment."""
    model = subject.model
    features = list(model.segment_features.order_by("feature").values_list("feature", flat=True))
    declared = list(model.segments.order_by("name").values_list("name", flat=True))
    whole = _points(subject, MonitorKind.PERFORMANCE)
    in_segments = _points(subject, MonitorKind.PERFORMANCE, in_segments=True)
    watched = [*features, *declared]
    return EvidenceSection(
        "fairness",
        "Groups and segments",
        [
            f"Segments are made of {', '.join(watched)}."
            if watched
            else "No feature makes segments and none is declared, so no groups were compared.",
            "Which groups matter, and which differences are acceptable, is for people to say: a gap is a number here.",
        ],
        [
            _values(subject, "Gaps between groups", whole.filter(metric__in=_GAPS)),
            _segments(in_segments.filter(metric=main_metric(model))),
        ],
    )


# -- points ------------------------------------------------------------------------------------------------------------
def _opening(subject: EvidenceSubject, kind: MonitorKind) -> list[str]:
    span = span_of(subject.model, kind)
    length = f"one {span}" if span.isalpha() else span
    return [f"Windows of {length} that ended in the period, of all that callers were answered.", _LIMITS]


def _points(
    subject: EvidenceSubject, kind: MonitorKind, *, in_segments: bool = False
) -> QuerySet[MetricPoint]:
    """Select the points of a kind that judge all answers, in the windows that ended in the period."""
    return MetricPoint.objects.filter(
        ended_in(subject.period),
        ~Q(segment="") if in_segments else Q(segment=""),
        model=subject.model,
        role="champion",
        version="",
        span=span_of(subject.model, kind),
    )


def _counts(points: QuerySet[MetricPoint]) -> EvidenceTable:
    by_feature = (
        points.values("metric", "feature")
        .annotate(
            windows=Count("start"),
            judged=Count("start", filter=Q(status__in=(PointStatus.OK, *_BEYOND))),
            beyond=Count("start", filter=Q(status__in=_BEYOND)),
            least=Min("value"),
            most=Max("value"),
        )
        .order_by("-beyond", "metric", "feature")
    )
    rows: list[dict[str, Any]] = [dict(row) for row in by_feature]
    return table(
        "By metric and feature, those most often beyond their limit first",
        _COLUMNS_OF_COUNTS,
        (
            (METRICS[row["metric"]].title, *(row[name] for name in list(_COLUMNS_OF_COUNTS)[1:]))
            for row in rows
        ),
    )


def _values(subject: EvidenceSubject, title: str, points: QuerySet[MetricPoint]) -> EvidenceTable:
    total = points.count()
    newest = list(points.order_by("-start", "metric", "feature")[:MAX_TABLE_ROWS])[::-1]
    return table(
        title,
        {
            "metric": "Metric", "feature": "Of", "start": "Window from", "end": "To", "value": "Value", "unit": "Unit",
            "lower": "Lower", "upper": "Upper", "n": "Rows", "limit": "Limit", "status": "Status",
        },
        (
            (
                title_of(one.metric), one.feature or None, one.start, one.end, one.value,
                METRICS[one.metric].unit or None, one.lower, one.upper, one.n, one.threshold, one.status,
            )
            for one in PointJudge(subject.model, looks_back=False).judge(newest)
        ),
        total=total,
    )  # fmt: skip


def _segments(points: QuerySet[MetricPoint]) -> EvidenceTable:
    """Summarise a metric by segment; the extremes are over its windows."""
    rows = list(
        points.values("metric", "segment")
        .annotate(
            windows=Count("start", filter=Q(value__isnull=False)),
            beyond=Count("start", filter=Q(status__in=_BEYOND)),
            too_few=Count("start", filter=Q(status=PointStatus.INSUFFICIENT)),
            least=Min("value"),
            most=Max("value"),
            rows=Sum("n"),
        )
        .order_by("segment")
    )
    return table(
        "The metric that the model is judged by, in each segment",
        {
            "metric": "Metric", "segment": "Segment", "windows": "Windows with a value", "beyond": "Beyond the limit",
            "too_few": "With too few rows", "least": "Least value", "most": "Largest value", "rows": "Rows",
        },
        (
            (
                title_of(row["metric"]), row["segment"], row["windows"], row["beyond"], row["too_few"], row["least"],
                row["most"], row["rows"],
            )
            for row in rows
        ),
    )  # fmt: skip


def _change_points(subject: EvidenceSubject) -> EvidenceTable:
    found = ChangePoint.objects.filter(
        model=subject.model, at__gte=subject.period.start, at__lt=subject.period.end
    ).order_by("at")
    return table(
        "Changes of the error",
        {
            "error": "Error", "role": "Role", "version": "Version", "segment": "Segment", "detector": "Detector",
            "at": "From", "noticed_at": "Noticed", "before": "Before", "after": "After",
        },
        (
            (
                one.get_error_display(), one.role, one.version or None, one.segment or None,
                one.get_detector_display(), one.at, one.noticed_at, one.before, one.after,
            )
            for one in found[:MAX_TABLE_ROWS]
        ),
        total=found.count(),
    )  # fmt: skip


def _requests(subject: EvidenceSubject) -> EvidenceTable:
    found = (
        RequestCount.objects.filter(model=subject.model, **_hours(subject.period))
        .values("version", "role", "outcome")
        .annotate(requests=Sum("requests"))
        .order_by("version", "role", "outcome")
    )
    return table(
        "How requests that arrived in the period ended",
        {"version": "Version", "role": "Role", "outcome": "Outcome", "requests": "Requests"},
        ((row["version"], row["role"], row["outcome"], row["requests"]) for row in found),
    )


def _hours(period: Period) -> dict[str, object]:
    """Select the hours that the period touches, as its rows are counted."""
    return {"hour__gte": floor(period.start, "hour"), "hour__lt": period.end}


def _describe_hours(period: Period) -> Iterator[str]:
    """Yield that requests are counted by whole hours, where the period does not begin and end with one."""
    if any(floor(edge, "hour") != edge for edge in (period.start, period.end)):
        yield "Requests are counted by the hour, also those of the hours at the ends of the period, as a whole."
