"""Reads of metric points: what pages and the API show."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet

from driftline.common.periods import Period
from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole
from inference.registry.models import Model, RowsKept
from monitors.definitions.models import Monitor, MonitorKind
from monitors.definitions.services import DEFAULT_MIN_ROWS, drift_method
from monitors.metrics.catalogue import ANSWER_COLUMNS, JOINT_METRICS, METRICS
from monitors.metrics.context import Context, MeasuredWindow, context_of
from monitors.metrics.drift import drift_points
from monitors.metrics.measuring import drift_rows_of, points_of, rows_of_measure
from monitors.metrics.models import ChangePoint, MetricPoint, PointStatus
from monitors.metrics.periods import merged_summary, windows_held
from monitors.metrics.references.loaded import (
    LoadedReference,
    reference_in_use,
    watched_columns,
)
from monitors.metrics.request_log import RequestLog
from monitors.metrics.request_metrics import REQUEST_METRICS, measure_requests
from monitors.metrics.segment_summaries import SegmentSummary, segment_summaries
from monitors.stats.causes.importance import rank_causes
from monitors.stats.drift.evidently_defaults import DRIFT_SHARE, evidently_verdict
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary
from monitors.summaries.models import Summary
from monitors.summaries.stored import SHORTER


def points(
    *,
    model: Model,
    metric: str,
    start: datetime,
    end: datetime,
    span: str = "day",
    feature: str | None = None,
    segment: str = "",
    role: str = "champion",
    version: str = "",
) -> QuerySet[MetricPoint]:
    """Select the stored points of one metric that start in `[start, end)`, oldest first; feature None is every one."""
    found = MetricPoint.objects.filter(
        model=model,
        metric=metric,
        span=span,
        segment=segment,
        role=role,
        version=version,
        start__gte=start,
        start__lt=end,
    )
    return (found if feature is None else found.filter(feature=feature)).order_by("start", "feature")


def longer_points(
    *,
    model: Model,
    metric: str,
    start: datetime,
    end: datetime,
    step: str,
    feature: str | None = None,
    segment: str = "",
    role: str = "champion",
    version: str = "",
) -> list[MetricPoint]:
    """Measure one metric over weeks or months from the daily summaries; the rows are not stored.

    Of weeks whose days were dropped, the months give the points.
    """
    kind = METRICS[metric].kind
    context = context_of(model).of_kind(kind)
    found: list[MetricPoint] = []
    held = windows_held(model, Period(start, end), step)
    requests = None
    if held and metric in REQUEST_METRICS and not segment:
        requests = RequestLog.read(model, Period(held[0][1].start, held[-1][1].end))
    roles = ANSWERING_ROLES if role == PredictionRole.CHAMPION and not version else [role]
    for length, window in held:
        days = Summary.objects.filter(
            model=model,
            span__in=SHORTER,
            segment=segment,
            role__in=roles,
            start__gte=window.start,
            start__lt=window.end,
        ).select_related("version")
        found += _points_of_days(context, kind, days, version, feature, length, window.start)
        if requests is not None:
            measured = MeasuredWindow(context, requests, (), length, window)
            found += rows_of_measure(measure_requests, measured)
    return [
        p
        for p in found
        if p.metric == metric
        and (p.role, p.version) == (role, version)
        and (feature is None or p.feature == feature)
    ]


def _points_of_days(
    context: Context,
    kind: str,
    days: QuerySet[Summary],
    version: str,
    feature: str | None,
    span: str,
    start: datetime,
) -> list[MetricPoint]:
    """Measure a kind of points of one window from its days; of features that have no say nothing is unpacked."""

    def segments(features: Collection[str] | None) -> list[SegmentSummary]:
        return [one for one in segment_summaries(days, features=features) if one.version == version]

    if kind == MonitorKind.DRIFT and feature:
        alone = [drift_rows_of(context, feature, segment, span, start) for segment in segments([feature])]
        if None not in alone:
            return [row for rows in alone for row in rows or ()]
    needed = _features_needed(kind, feature)
    return [row for segment in segments(needed) for row in points_of(context, segment, span, start)]


def _features_needed(kind: str, feature: str | None) -> Collection[str] | None:
    """Name the features that points of a kind are measured from; None is all of them."""
    if kind == MonitorKind.DRIFT:
        return None  # whether one drifted may depend on all
    if kind == MonitorKind.QUALITY:
        return [feature] if feature else None
    return ()


def change_points(
    *, model: Model, start: datetime, end: datetime, role: str = "champion", version: str = ""
) -> QuerySet[ChangePoint]:
    """Select where the error of a version, or of each one in a role, changed in `[start, end)`, the newest first."""
    found = ChangePoint.objects.filter(model=model, role=role, at__gte=start, at__lt=end)
    return (found.filter(version=version) if version else found).order_by("-at", "-pk")


def drift_rows(*, model: Model, start: datetime, end: datetime, segment: str = "") -> dict[str, Any]:
    """Compare one period with the reference: each feature's statistics, limits and why, decision and blame."""
    reference = reference_in_use(
        model=model, version_id=model.deployment.champion_id, window=Period(start, end)
    )
    summary = merged_summary(model=model, start=start, end=end, segment=segment)
    answer: dict[str, Any] = {
        "window": {"start": start, "end": end},
        "n": summary.rows if summary else 0,
        "reference": _reference(reference),
        "together": joint_rows(model=model, start=start, end=end, segment=segment),
        "wrong_type": _wrong_types(summary),
        "items": [],
    }
    if summary is None or reference is None:
        return answer
    monitor = Monitor.objects.filter(model=model, kind=MonitorKind.DRIFT).first()
    rows: dict[str, dict[str, Any]] = {}
    for point in drift_points(
        summary,
        reference,
        length=end - start,
        min_rows=monitor.min_rows if monitor else DEFAULT_MIN_ROWS[MonitorKind.DRIFT],
        method=drift_method(model),
    ):
        row = rows.setdefault(
            point.feature, {"feature": point.feature, "statistics": {}, "n": point.n, "decision": ""}
        )
        row["statistics"][point.metric] = {
            "value": point.value,
            "threshold": point.threshold,
            "status": point.status,
            **point.detail,
        }
    blame = _blame(rows, reference)
    for row in rows.values():
        row["decision"] = _decision([s["status"] for s in row["statistics"].values()])
        row["share"] = blame.get(row["feature"], 0.0)
    answer["items"] = sorted(rows.values(), key=lambda row: (-row["share"], row["feature"]))
    return answer


def _wrong_types(summary: WindowSummary | None) -> list[dict[str, Any]]:
    """List the features with values of the wrong type, those with the most first."""
    features = summary.features if summary else {}
    found = [
        {"feature": name, "rows": column.wrong_type, "share": column.wrong_type / column.rows}
        for name, column in features.items()
        if column.wrong_type
    ]
    return sorted(found, key=lambda row: (-row["rows"], row["feature"]))


def joint_rows(*, model: Model, start: datetime, end: datetime, segment: str = "") -> dict[str, Any]:
    """Tell what the newest day of a period that was compared in all features together said, and its decision.

    Without such a day `why` tells the reason.
    """
    found = MetricPoint.objects.filter(
        model=model,
        metric__in=JOINT_METRICS,
        span="day",
        segment=segment,
        role=PredictionRole.CHAMPION,
        version="",
        start__gte=start,
        start__lt=end,
    )
    newest = found.order_by("-start").values_list("start", flat=True).first()
    points = list(found.filter(start=newest).order_by("metric")) if newest else []
    if not points:
        return {"decision": "not_available", "why": _why_not_together(model, segment), "items": []}
    return {
        "decision": _decision([p.status for p in points]),
        "why": "",
        "items": list(map(_joint_row, points)),
    }


_DETAIL_FIELDS = ("p_value", "why", "usual", "lower_threshold", "features", "columns", "left_out")


def _joint_row(point: MetricPoint) -> dict[str, Any]:
    plain = ("metric", "value", "n", "lower", "upper", "threshold", "status")
    detail = point.detail or {}
    return (
        {"day": point.start.astimezone(UTC).date().isoformat()}
        | {name: getattr(point, name) for name in plain}
        | {name: detail[name] for name in _DETAIL_FIELDS if name in detail}
    )


def _why_not_together(model: Model, segment: str) -> str:
    if segment:
        return "Features are compared together over all rows, not by segment."
    if model.rows_kept == RowsKept.NONE:
        return "Rows are not kept, and features are compared together row by row."
    return "No day of this period has been compared yet: each is once it has ended and there is a reference."


def evidently_rows(*, model: Model, start: datetime, end: datetime, segment: str = "") -> dict[str, Any]:
    """Compare one period with the reference as Evidently would by default: its tests, numbers and lines."""
    reference = reference_in_use(
        model=model, version_id=model.deployment.champion_id, window=Period(start, end)
    )
    summary = merged_summary(model=model, start=start, end=end, segment=segment)
    items: list[dict[str, Any]] = []
    if summary is not None and reference is not None and not reference.lacks:
        usual, current = watched_columns(reference.summary), watched_columns(summary)
        items = [
            _evidently_row(name, usual[name], current[name]) for name in sorted(usual.keys() & current.keys())
        ]
    judged = [row for row in items if row["decision"] != "no_data"]
    share = sum(row["decision"] == "drifted" for row in judged) / len(judged) if judged else 0.0
    return {
        "n": summary.rows if summary else 0,
        "reference": _reference(reference),
        "drifted_share": share,
        "decision": "drifted" if judged and share >= DRIFT_SHARE else "stable" if judged else "no_data",
        "items": items,
    }


def _evidently_row(name: str, usual: ColumnSummary, current: ColumnSummary) -> dict[str, Any]:
    verdict = evidently_verdict(usual, current)
    row = {"feature": name, "n": current.rows, "statistics": {}, "decision": "no_data"}
    if verdict is not None:
        status = PointStatus.WARNING if verdict.drifted else PointStatus.OK
        row["statistics"] = {
            verdict.test: {"value": verdict.score, "threshold": verdict.threshold, "status": str(status)}
        }
        row["decision"] = _decision([status])
    return row


def _reference(reference: LoadedReference | None) -> dict[str, Any] | None:
    if reference is None:
        return None
    described = {"id": reference.id, "version": reference.version, **reference.as_detail}
    return described | ({"lacks": reference.lacks} if reference.lacks else {})


def _decision(statuses: list[str]) -> str:
    if any(status in ("warning", "critical") for status in statuses):
        return "drifted"
    for status in ("insufficient", "no_data"):
        if status in statuses:
            return status
    return "stable"


def _blame(rows: dict[str, dict[str, Any]], reference: LoadedReference) -> dict[str, float]:
    features = [name for name in rows if name not in ANSWER_COLUMNS]
    loudest = {
        name: next(said for said in rows[name]["statistics"].values() if said["decides"]) for name in features
    }
    causes = rank_causes(
        {name: said["value"] or 0.0 for name, said in loudest.items()},
        {name: said["threshold"] or 0.0 for name, said in loudest.items()},
        reference.importance,
    )
    return {cause.feature: cause.share for cause in causes}
