"""Reads of metric points: what pages and the API show."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import batched
from typing import Any

from django.db.models import QuerySet

from driftline.base.errors import invalid
from driftline.base.periods import STEPS, Period, counted, day_of, is_window, overlap, rolling_days
from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole
from inference.registry.models import Model, RowsKept
from inference.vector_names import norm_of
from monitors.definitions.choosing import file_reference
from monitors.definitions.models import Monitor, MonitorKind
from monitors.definitions.segment_masks import features_of_segment
from monitors.definitions.services import DEFAULT_MIN_ROWS, drift_method
from monitors.metrics.answers.segment_summaries import SegmentSummary, segment_summaries, summaries_to_add_up
from monitors.metrics.catalogue import ANSWER_COLUMNS, JOINT_METRICS, METRICS
from monitors.metrics.context import Context, MeasuredWindow, context_of
from monitors.metrics.inputs.drift import drift_points
from monitors.metrics.inputs.impossible import impossible_points
from monitors.metrics.limits import RAISED, PointJudge
from monitors.metrics.measuring import drift_rows_of, points_of, rows_of_measure
from monitors.metrics.periods import merged_summary, windows_held
from monitors.metrics.references.loaded import (
    LoadedReference,
    reference_in_use,
    watched_columns,
)
from monitors.metrics.references.seasons import in_season
from monitors.metrics.store.models import ChangePoint, MetricPoint, PointStatus, UnreadDay
from monitors.metrics.store.points import Point, Population, row_of
from monitors.metrics.traffic.request_log import RequestLog
from monitors.metrics.traffic.request_metrics import REQUEST_METRICS, measure_requests
from monitors.stats.causes.importance import rank_causes
from monitors.stats.drift.evidently_defaults import DRIFT_SHARE, evidently_verdict
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary
from monitors.summaries.models import Summary
from monitors.summaries.stored import SHORTER

DAYS_BEFORE = timedelta(days=7)
"""How far before a period a day may lie that was compared in all features together, to speak for it."""
MAX_ROLLING_WINDOWS = 400  # a year of them, and some
WINDOWS_READ_AT_ONCE = 13  # weeks or months: a question takes milliseconds, and days are held in memory


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
    """Select the stored points of one metric that start in `[start, end)`, oldest first; feature None is every one.

    Of windows that roll they are those with a last day that starts there.
    """
    reach = overlap(span)
    found = MetricPoint.objects.filter(
        model=model,
        metric=metric,
        span=span,
        segment=segment,
        role=role,
        version=version,
        start__gte=start - reach,
        start__lt=end - reach,
    )
    return (found if feature is None else found.filter(feature=feature)).order_by("start", "feature")


def is_stored(model: Model, metric: str, span: str) -> bool:
    """Return whether a metric's points are stored by windows of a span: a longer one must be judged by a monitor."""
    if span in ("hour", "day"):
        return True
    monitor = Monitor.objects.filter(model=model, kind=METRICS[metric].kind, enabled=True).first()
    return monitor is not None and span in monitor.spans


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
    """Measure one metric over windows longer than a day from the daily summaries; the rows are not stored.

    Of weeks without their days, the months give the points. Raises Problem (422) for more windows that roll than
    are worth waiting for: each is measured from all its days.
    """
    if rolling_days(step) and (many := (end - start).days) > MAX_ROLLING_WINDOWS:
        raise invalid(
            "/from",
            f"There are {counted(many, step)} from {start:%Y-%m-%d} to {end:%Y-%m-%d}, and no monitor or rule judges "
            f"them; ask for {MAX_ROLLING_WINDOWS} at once, or have one judge them, so that they are stored.",
            "too_many_windows",
        )
    kind = METRICS[metric].kind
    context = context_of(model).of_metric(metric)
    found: list[MetricPoint] = []
    held = windows_held(model, Period(start, end), step)
    requests = None
    if held and metric in REQUEST_METRICS and not segment:
        requests = RequestLog.read(model, Period(held[0][1].start, held[-1][1].end))
    roles = ANSWERING_ROLES if role == PredictionRole.CHAMPION and not version else [role]
    stored = summaries_to_add_up(model).filter(span__in=SHORTER, segment=segment, role__in=roles)
    for some in batched(held, WINDOWS_READ_AT_ONCE):
        period = Period(some[0][1].start, some[-1][1].end)
        in_period = stored.filter(start__gte=period.start, start__lt=period.end)
        days = list(in_period)
        for length, window in some:
            of_window = [day for day in days if day.start in window]
            found += _points_of_days(context, kind, of_window, version, feature, length, window.start)
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
    days: Sequence[Summary],
    version: str,
    feature: str | None,
    span: str,
    start: datetime,
) -> list[MetricPoint]:
    """Measure a kind of points of one window from its days; of features that have no say nothing is unpacked."""

    def segments(features: Collection[str] | None) -> list[SegmentSummary]:
        summaries = segment_summaries(days, features=features, with_outcomes=kind == MonitorKind.PERFORMANCE)
        return [one for one in summaries if one.version == version]

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
        return [feature, norm_of(feature)] if feature else None  # of a vector its length tells
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
    whole = reference
    reference = reference and in_season(reference, Period(start, end))
    summary = merged_summary(model=model, start=start, end=end, segment=segment)
    answer: dict[str, Any] = {
        "window": {"start": start, "end": end},
        "n": summary.rows if summary else 0,
        "reference": _reference(reference),
        "together": joint_rows(model=model, start=start, end=end, segment=segment),
        "wrong_type": _wrong_types(summary),
        "impossible": _impossible_values(model, summary, whole),
        "items": [],
    }
    if summary is None or reference is None:
        return answer
    monitor = Monitor.objects.filter(model=model, kind=MonitorKind.DRIFT).first()
    rows: dict[str, dict[str, Any]] = {}
    statuses: dict[str, list[str]] = {}
    points = drift_points(
        summary.without(features_of_segment(model, segment)),
        reference,
        window=Period(start, end),
        min_rows=monitor.min_rows if monitor else DEFAULT_MIN_ROWS[MonitorKind.DRIFT],
        method=drift_method(model),
    )
    blame = _blame(points, reference)
    for point in _judged(model, segment, Period(start, end), points):
        statuses.setdefault(point.feature, []).append(point.calibrated_status)
        row = rows.setdefault(
            point.feature, {"feature": point.feature, "statistics": {}, "n": point.n, "decision": ""}
        )
        row["statistics"][point.metric] = _plain_statistic(point)
    for row in rows.values():
        row["decision"] = _decision(statuses[row["feature"]])
        row["share"] = blame.get(row["feature"], 0.0)
    answer["items"] = sorted(rows.values(), key=lambda row: (-row["share"], row["feature"]))
    return answer


def _judged(model: Model, segment: str, period: Period, points: Sequence[Point]) -> list[MetricPoint]:
    """Judge what was measured of a period as the stored points of it are, where it is a window of some span.

    Of several such spans it is one that a monitor judges: seven days may be a week, or the last 7 days.
    """
    monitors = Monitor.objects.filter(model=model, kind=MonitorKind.DRIFT)
    judged = [span for monitor in monitors for span in (monitor.span, *monitor.rule_spans)]
    span = next((one for one in (*judged, *STEPS) if is_window(period, one)), "")
    population = Population(PredictionRole.CHAMPION, "", segment)
    rows = [row_of(model, population, span or "day", period.start, point) for point in points]
    for row in rows:
        row.span, row.end = span, period.end
    return PointJudge(model, looks_back=bool(span)).judge(rows)


def _plain_statistic(point: MetricPoint) -> dict[str, Any]:
    return {
        "value": point.value,
        "threshold": point.threshold,
        "is_beyond": point.is_beyond,
        "status": point.status,
        "rule": point.rule or None,
        "since": point.since,
        **(point.detail or {}),
    }


def _wrong_types(summary: WindowSummary | None) -> list[dict[str, Any]]:
    """List the features with values of the wrong type, those with the most first."""
    features = summary.features if summary else {}
    found = [
        {"feature": name, "rows": column.wrong_type, "share": column.wrong_type / column.rows}
        for name, column in features.items()
        if column.wrong_type
    ]
    return sorted(found, key=lambda row: (-row["rows"], row["feature"]))


def _impossible_values(
    model: Model, summary: WindowSummary | None, reference: LoadedReference | None
) -> list[dict[str, Any]]:
    """List the features with values that they can hardly have, by their reference, those with the most first."""
    if summary is None or reference is None:
        return []
    points = impossible_points(
        summary.features,
        reference.summary.features,
        reference.reaches,
        expected={one.feature: one for one in model.expectations.all()},
        earlier=lambda feature: (),
    )
    found = [
        {"feature": point.feature, "share": point.value}
        | {name: point.detail[name] for name in ("kind", "rows", "value", "least", "most")}
        for point in points
        if point.detail
    ]
    return sorted(found, key=lambda row: (-row["rows"], row["feature"]))


def joint_rows(*, model: Model, start: datetime, end: datetime, segment: str = "") -> dict[str, Any]:
    """Return what the newest day of a period that was compared in all features together said, and its decision.

    A day is compared some time after it has ended, so without one it is the newest of the days before the period.
    `why` then says what the period lacks, and what it lacks where no day is known.
    """
    found = MetricPoint.objects.filter(
        model=model,
        metric__in=JOINT_METRICS,
        span="day",
        segment=segment,
        role=PredictionRole.CHAMPION,
        version="",
        start__gte=start - DAYS_BEFORE,
        start__lt=end,
    )
    newest = found.order_by("-start").values_list("start", flat=True).first()
    is_within = newest is not None and newest >= start
    points = PointJudge(model).judge(found.filter(start=newest).order_by("metric")) if newest else []
    return {
        "decision": _decision([p.calibrated_status for p in points]) if points else "not_available",
        "why": "" if is_within else _why_not_together(model, Period(start, end), segment),
        "items": list(map(_joint_row, points)),
    }


_DETAIL_FIELDS = ("p_value", "why", "advice", "usual", "lower_threshold", "features", "columns", "left_out")


def _joint_row(point: MetricPoint) -> dict[str, Any]:
    plain = ("metric", "value", "n", "lower", "upper", "threshold", "status", "is_beyond", "since")
    detail = point.detail or {}
    return (
        {"day": day_of(point.start).isoformat()}
        | {name: getattr(point, name) for name in plain}
        | {name: detail[name] for name in _DETAIL_FIELDS if name in detail}
    )


def _why_not_together(model: Model, period: Period, segment: str) -> str:
    if segment:
        return "Features are compared together over all rows, not by segment."
    if model.rows_kept == RowsKept.NONE:
        return "Rows are not kept, and features are compared together row by row."
    if file_reference(model=model, version_id=None) is None:
        return "This needs the rows of a reference; upload a file."
    waiting = UnreadDay.objects.filter(model=model, start__gte=period.start, start__lt=period.end)
    if (newest := waiting.order_by("-start").first()) is None:
        return "No day of this period has been compared: each is soon after it has ended, from rows that are kept."
    return f"{newest.start:%-d %b %Y} is compared soon after it has ended."


def evidently_rows(*, model: Model, start: datetime, end: datetime, segment: str = "") -> dict[str, Any]:
    """Compare one period with the reference as Evidently would by default: its tests, numbers and lines."""
    reference = reference_in_use(
        model=model, version_id=model.deployment.champion_id, window=Period(start, end)
    )
    summary = merged_summary(model=model, start=start, end=end, segment=segment)
    items: list[dict[str, Any]] = []
    if summary is not None and reference is not None and not reference.lacks:
        judged = summary.without(features_of_segment(model, segment))
        usual, current = watched_columns(reference.summary), watched_columns(judged)
        items = [
            _evidently_row(name, usual[name], current[name]) for name in sorted(usual.keys() & current.keys())
        ]
    decided = [row for row in items if row["decision"] != "no_data"]
    share = sum(row["decision"] == "drifted" for row in decided) / len(decided) if decided else 0.0
    return {
        "n": summary.rows if summary else 0,
        "reference": _reference(reference),
        "drifted_share": share,
        "decision": "drifted" if decided and share >= DRIFT_SHARE else "stable" if decided else "no_data",
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
    if any(status in RAISED for status in statuses):
        return "drifted"
    for status in ("insufficient", "no_data"):
        if status in statuses:
            return status
    is_untold = statuses and all(status == "not_informative" for status in statuses)
    return "not_informative" if is_untold else "stable"


def _blame(points: Sequence[Point], reference: LoadedReference) -> dict[str, float]:
    loudest = [point for point in points if point.detail["decides"] and point.feature not in ANSWER_COLUMNS]
    causes = rank_causes(
        {point.feature: point.value or 0.0 for point in loudest},
        {point.feature: point.threshold or 0.0 for point in loudest},
        reference.importance,
    )
    return {cause.feature: cause.share for cause in causes}
