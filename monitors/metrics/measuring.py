"""Measures one subject in one window: what workers store, and what a question over longer windows asks for."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from driftline.common.clock import now
from driftline.common.periods import following
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from inference.serving.plan import Signature
from monitors.definitions.models import Monitor, MonitorKind
from monitors.metrics.drift import drift_points
from monitors.metrics.event_clock import event_now
from monitors.metrics.models import MetricPoint
from monitors.metrics.performance import Ripeness, performance_points
from monitors.metrics.points import Point
from monitors.metrics.quality import quality_points
from monitors.metrics.references import ReferenceInUse, reference_in_use
from monitors.metrics.service import service_points
from monitors.stats.sketches import merge_numbers
from monitors.stats.window_summary import WindowSummary, merge_windows
from monitors.summaries.models import Summary

LAG_DAYS = 7
DEFAULT_LAG = timedelta(hours=1)
HOURLY_KINDS = {MonitorKind.SERVICE, MonitorKind.PERFORMANCE}


@dataclass(frozen=True)
class Context:
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
class Subject:
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


def context_of(model: Model) -> Context:
    """Gather what all windows of one pass share."""
    return Context(
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


def subjects_of(rows: Iterable[Summary]) -> list[Subject]:
    """List whose rows one window holds; several summaries of one version, role and segment are added up.

    The champion's role is there a version, and across versions with the reference of the one that answered most.
    """
    parts: dict[tuple[str, int, str], list[Summary]] = {}
    for row in rows:
        parts.setdefault((row.role, row.version_id, row.segment), []).append(row)
    apart = [_add_up(summaries) for _, summaries in sorted(parts.items())]
    champions: dict[str, list[Subject]] = {}
    for subject in apart:
        if subject.role == "champion":
            champions.setdefault(subject.segment, []).append(subject)
    together = [_across_versions(subjects) for subjects in champions.values()]
    return [subject for subject in apart if subject.is_whole or subject.role != "champion"] + together


def _add_up(rows: list[Summary]) -> Subject:
    merged = merge_windows([WindowSummary.decode(bytes(row.payload)) for row in rows])
    return Subject(rows[0].role, rows[0].version.version, rows[0].version_id, rows[0].segment, merged)


def _across_versions(subjects: list[Subject]) -> Subject:
    largest = max(subjects, key=lambda subject: subject.summary.rows)
    merged = merge_windows([subject.summary for subject in subjects])
    return Subject("champion", "", largest.version_id, largest.segment, merged)


def points_of(context: Context, subject: Subject, span: str, start: datetime) -> list[MetricPoint]:
    """Measure every metric of the model's monitors; the rows are not saved."""
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
    return [_row(context, subject, span, start, point) for point in points]


def _performance(
    context: Context, monitor: Monitor, subject: Subject, usual: dict[str, dict[str, float]], end: datetime
) -> list[Point]:
    return performance_points(
        subject.summary,
        usual if subject.is_whole else {},
        end=end,
        ripeness=Ripeness(monitor.min_rows, monitor.min_label_coverage, context.label_lag, context.event_now),
        positive_class=context.signature_of(subject.version_id).positive_class,
    )


def _row(context: Context, subject: Subject, span: str, start: datetime, point: Point) -> MetricPoint:
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
