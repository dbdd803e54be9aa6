"""Turns summaries and a reference into metric points."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from driftline.common.clock import now
from driftline.common.doorbell import ring
from driftline.common.periods import following
from driftline.common.work import finish, touch
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from inference.serving.plan import Signature
from monitors.definitions.models import Monitor, MonitorKind
from monitors.metrics.drift import drift_points
from monitors.metrics.event_clock import event_now
from monitors.metrics.models import MetricPoint, PendingEvaluation
from monitors.metrics.performance import Ripeness, performance_points
from monitors.metrics.points import Point
from monitors.metrics.quality import quality_points
from monitors.metrics.references import ReferenceInUse, reference_in_use
from monitors.metrics.service import service_points
from monitors.stats.sketches import merge_numbers
from monitors.stats.window_summary import WindowSummary, merge_windows
from monitors.summaries.models import StaleWindow, Summary

WINDOWS_A_TASK = 200
LAG_DAYS = 7
DEFAULT_LAG = timedelta(hours=1)
HOURLY_KINDS = {MonitorKind.SERVICE, MonitorKind.PERFORMANCE}


@dataclass(frozen=True)
class _Context:
    """What all windows of one pass share."""

    model: Model
    monitors: dict[str, Monitor]
    label_lag: timedelta
    event_now: datetime
    _references: dict[int, ReferenceInUse | None] = field(default_factory=dict)
    _signatures: dict[int, Signature] = field(default_factory=dict)

    def reference_of(self, version_id: int) -> ReferenceInUse | None:
        if version_id not in self._references:
            self._references[version_id] = reference_in_use(model=self.model, version_id=version_id)
        return self._references[version_id]

    def signature_of(self, version_id: int) -> Signature:
        if version_id not in self._signatures:
            version = self.model.versions.select_related("model").get(pk=version_id)
            self._signatures[version_id] = signature_of(version)
        return self._signatures[version_id]


@dataclass(frozen=True)
class _Subject:
    """Whose rows a summary holds: the champion's role across versions, or one version in one role."""

    role: str
    version: str
    version_id: int
    segment: str
    summary: WindowSummary

    @property
    def is_whole(self) -> bool:
        return not self.segment

    @property
    def is_champion(self) -> bool:
        return self.role == "champion" and not self.version


def measure(model_id: int) -> int:
    """Compute the points of stale windows of one model and ring the rules; returns the windows done."""
    with transaction.atomic():
        stale = StaleWindow.objects.filter(model_id=model_id).claim(limit=WINDOWS_A_TASK)
    if not stale:
        return 0
    with transaction.atomic():
        _lock_model(model_id)
        context = _context(Model.objects.get(pk=model_id))
        rows = [row for window in stale for row in _window_rows(context, window.span, window.start)]
        _save(rows)
        touch(PendingEvaluation, [(model_id,)], fields=("model_id",))
        finish(stale)
        ring("monitors.judge", model_id=model_id)
    return len(stale)


def _lock_model(model_id: int) -> None:
    """Let one worker at a time write the points of a model, so that an older result never lands on a newer one."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(7303, %s)", [model_id])


def _context(model: Model) -> _Context:
    return _Context(
        model=model,
        monitors={monitor.kind: monitor for monitor in model.monitors.filter(enabled=True)},
        label_lag=label_lag(model),
        event_now=event_now(model=model, now=now()),
    )


def label_lag(model: Model) -> timedelta:
    """Tell how long labels take: the model's objective, else the p95 of what the last days showed."""
    hours = model.objectives.get("label_lag_hours")
    if hours is not None:
        return timedelta(hours=float(hours))
    days = Summary.objects.filter(model=model, role="champion", span="day", segment="", labelled__gt=0)
    payloads = days.order_by("-start").values_list("payload", flat=True)[:LAG_DAYS]
    lags = [WindowSummary.decode(bytes(payload), features=()).label_lag_s for payload in payloads]
    known = [lag for lag in lags if lag is not None and lag.n]
    if not known:
        return DEFAULT_LAG
    return timedelta(seconds=max(0.0, float(merge_numbers(known).quantile(0.95))))


def _window_rows(context: _Context, span: str, start: datetime) -> list[MetricPoint]:
    return [
        _row(context, subject, span, start, point)
        for subject in _subjects(context.model, span, start)
        for point in _points(context, subject, span, start)
    ]


def _subjects(model: Model, span: str, start: datetime) -> Iterable[_Subject]:
    """List whose rows a window holds. Segments are measured by the day, and by the hour only as a whole."""
    stored = Summary.objects.filter(model=model, span=span, start=start).select_related("version")
    if span == "hour":
        stored = stored.filter(segment="")
    champions: dict[str, list[_Subject]] = {}
    for row in stored.order_by("segment", "version_id"):
        summary = WindowSummary.decode(bytes(row.payload))
        subject = _Subject(row.role, row.version.version, row.version_id, row.segment, summary)
        if row.role == "champion":
            champions.setdefault(row.segment, []).append(subject)
        if row.role == "champion" and not subject.is_whole:
            continue
        yield subject
    for segment, parts in champions.items():
        largest = max(parts, key=lambda part: part.summary.rows)
        merged = merge_windows([part.summary for part in parts])
        yield _Subject("champion", "", largest.version_id, segment, merged)


def _points(context: _Context, subject: _Subject, span: str, start: datetime) -> list[Point]:
    end = following(start, span)
    reference = context.reference_of(subject.version_id)
    points: list[Point] = []
    for kind, monitor in context.monitors.items():
        if span == "hour" and monitor.span != "hour" and kind not in HOURLY_KINDS:
            continue
        if kind == MonitorKind.SERVICE and subject.is_whole:
            objective = context.model.objectives.get("latency_p99_ms")
            points += service_points(subject.summary, length=end - start, latency_objective_ms=objective)
        elif kind == MonitorKind.PERFORMANCE:
            points += _performance(context, monitor, subject, reference.performance if reference else {}, end)
        elif kind == MonitorKind.QUALITY and subject.is_champion and subject.is_whole:
            points += quality_points(
                subject.summary, reference.summary if reference else None, min_rows=monitor.min_rows
            )
        elif kind == MonitorKind.DRIFT and subject.is_champion and reference is not None:
            points += drift_points(subject.summary, reference, min_rows=monitor.min_rows)
    return points


def _performance(
    context: _Context, monitor: Monitor, subject: _Subject, usual: dict[str, dict[str, float]], end: datetime
) -> list[Point]:
    return performance_points(
        subject.summary,
        usual if subject.is_whole else {},
        end=end,
        ripeness=Ripeness(monitor.min_rows, monitor.min_label_coverage, context.label_lag, context.event_now),
        positive_class=context.signature_of(subject.version_id).positive_class,
    )


def _row(context: _Context, subject: _Subject, span: str, start: datetime, point: Point) -> MetricPoint:
    return MetricPoint(
        model=context.model,
        role=subject.role,
        version=subject.version,
        segment=subject.segment,
        span=span,
        start=start,
        end=following(start, span),
        metric=point.metric,
        feature=point.feature,
        value=point.value,
        n=point.n,
        lower=point.lower,
        upper=point.upper,
        threshold=point.threshold,
        status=point.status,
        detail=point.detail or None,
    )


_COLUMNS = (
    "model_id", "role", "version", "segment", "span", "start", "\"end\"", "metric", "feature", "value", "n", "lower",
    "upper", "threshold", "status", "detail",
)  # fmt: skip
_CHANGING = ('"end"', "value", "n", "lower", "upper", "threshold", "status", "detail")


def _save(rows: Sequence[MetricPoint]) -> None:
    """Upsert points in bulk; a value that late data changed counts as a new revision."""
    field = MetricPoint._meta.get_field("detail")
    for begin in range(0, len(rows), 2_000):
        part = rows[begin : begin + 2_000]
        places = ", ".join(["(" + ", ".join(["%s"] * len(_COLUMNS)) + ", 1, now())"] * len(part))
        values: list[Any] = []
        for row in part:
            values += [getattr(row, name.strip('"')) for name in _COLUMNS[:-1]]
            values.append(field.get_db_prep_save(row.detail, connection))
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO monitors_metricpoint ({', '.join(_COLUMNS)}, revision, updated_at) VALUES {places} "
                "ON CONFLICT (model_id, span, metric, feature, segment, role, version, start) DO UPDATE SET "
                + ", ".join(f"{name} = EXCLUDED.{name}" for name in _CHANGING)
                + ", updated_at = now(), revision = monitors_metricpoint.revision"
                " + (monitors_metricpoint.value IS DISTINCT FROM EXCLUDED.value)::int",
                values,
            )
