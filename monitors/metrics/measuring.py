"""Measures one subject in one window: what workers store, and what a question over longer windows asks for."""

import logging
import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Self

import numpy as np
from django.db import DatabaseError

from driftline.common.attempts import reason_of
from driftline.common.clock import now
from driftline.common.periods import Period, following
from inference.prediction_log.models import ANSWERING_ROLES, PredictionRole
from inference.prediction_log.queries.event_clock import event_now
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from inference.signatures import Signature
from monitors.definitions.models import Expectation, Monitor, MonitorKind
from monitors.metrics.drift import drift_points, drift_points_of, drifted_features
from monitors.metrics.estimation import estimated_points
from monitors.metrics.fairness import gap_points
from monitors.metrics.labels import label_points
from monitors.metrics.models import MetricPoint, PointStatus
from monitors.metrics.performance import Ripeness, performance_points
from monitors.metrics.points import Point
from monitors.metrics.quality import quality_points
from monitors.metrics.references.loaded import LoadedReference, References, annotate_reference
from monitors.metrics.requests import RequestLog
from monitors.metrics.rows.expected_errors import expected_rows
from monitors.metrics.service_level import service_points
from monitors.stats.mergeable.outcomes import OutcomeSummary, merge_outcomes
from monitors.stats.mergeable.sketches import NumericSummary, merge_numbers
from monitors.stats.mergeable.window_summary import (
    UnreadableSummary,
    WindowSummary,
    decode_outcomes,
    merge_windows,
)
from monitors.summaries.models import Summary

log = logging.getLogger(__name__)

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
    segment_features: Sequence[str] = ()
    expected: Mapping[str, Expectation] = field(default_factory=dict)
    failures: dict[tuple[str, datetime], list[str]] = field(default_factory=dict)
    """What could not be measured, by the window's span and start: the points of it are errors."""
    _signatures: dict[int, Signature] = field(default_factory=dict)

    def of_kind(self, kind: str) -> Self:
        """Narrow what is measured to the points of one kind of monitor."""
        return replace(self, monitors={name: one for name, one in self.monitors.items() if name == kind})

    @cached_property
    def references(self) -> References:
        return References(self.model)

    def signature_of(self, version_id: int) -> Signature:
        if version_id not in self._signatures:
            version = self.model.versions.select_related("model").get(pk=version_id)
            self._signatures[version_id] = signature_of(version)
        return self._signatures[version_id]


@dataclass(frozen=True)
class Population:
    """Whose requests a point counts; an empty version is every one."""

    role: str
    version: str
    segment: str = ""


@dataclass(frozen=True)
class Subject:
    """Whose rows a summary holds: those of one version in one role, or all that callers of the model were answered.

    The latter have the role of the champion and no version; a canary's rows are among them. `blocks` are the
    outcomes of the shorter windows that the summary was added up from, by their start.
    """

    role: str
    version: str
    version_id: int
    segment: str
    summary: WindowSummary
    blocks: Mapping[datetime, OutcomeSummary] = field(default_factory=dict)

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
        segment_features=tuple(model.segment_features.values_list("feature", flat=True)),
        expected={one.feature: one for one in model.expectations.all()},
    )


def label_lag(model: Model) -> timedelta:
    """Tell how long labels take: the model's objective, else the p95 of what the last days showed."""
    hours = model.objectives.get("label_lag_hours")
    if hours is not None:
        return timedelta(hours=float(hours))
    days = Summary.objects.filter(
        model=model, role__in=ANSWERING_ROLES, span="day", segment="", labelled__gt=0
    )
    payloads = days.order_by("-start").values_list("payload", flat=True)[:LAG_DAYS]
    lags = [_label_lag(bytes(payload)) for payload in payloads]
    known = [lag for lag in lags if lag is not None and lag.n]
    if not known:
        return DEFAULT_LAG
    return timedelta(seconds=max(0.0, float(merge_numbers(known).quantile(0.95))))


def _label_lag(payload: bytes) -> NumericSummary | None:
    try:
        return WindowSummary.decode(payload, features=()).label_lag_s
    except UnreadableSummary:
        return None  # its own window says so


def subjects_of(
    rows: Iterable[Summary], shorter: Iterable[Summary] = (), *, features: Collection[str] | None = None
) -> list[Subject]:
    """List whose rows one window holds; several summaries of one version, role and segment are added up.

    What callers were answered is there a version, and together with the reference of the one that answered most.
    `shorter` are summaries of the windows that this one consists of, where `rows` are not these themselves and do
    not stand for them. Of the features those named are unpacked, or all.
    """
    parts: dict[tuple[str, int, str], list[Summary]] = {}
    for row in rows:
        parts.setdefault((row.role, row.version_id, row.segment), []).append(row)
    blocks: dict[tuple[str, int, str], dict[datetime, OutcomeSummary]] = {}
    for row in shorter:
        outcome = WindowSummary.decode(bytes(row.payload), features=()).outcome
        if outcome is not None:
            blocks.setdefault((row.role, row.version_id, row.segment), {})[row.start] = outcome
    apart = [
        _add_up(summaries, blocks.get(population, {}), features)
        for population, summaries in sorted(parts.items())
    ]
    answered: dict[str, list[Subject]] = {}
    for subject in apart:
        if subject.role in ANSWERING_ROLES:
            answered.setdefault(subject.segment, []).append(subject)
    together = [_across_versions(subjects) for subjects in answered.values()]
    return [subject for subject in apart if subject.is_whole or subject.role != "champion"] + together


def _add_up(
    rows: list[Summary], blocks: Mapping[datetime, OutcomeSummary], features: Collection[str] | None
) -> Subject:
    first = rows[0]
    windows = [WindowSummary.decode(bytes(row.payload), features=features) for row in rows]
    if len(rows) > 1:
        blocks = {row.start: w.outcome for row, w in zip(rows, windows, strict=True) if w.outcome is not None}
    elif first.blocks is not None:
        blocks = {
            datetime.fromtimestamp(start, UTC): outcome
            for start, outcome in decode_outcomes(bytes(first.blocks)).items()
        }
    return Subject(
        first.role, first.version.version, first.version_id, first.segment, merge_windows(windows), blocks
    )


def _across_versions(subjects: list[Subject]) -> Subject:
    largest = max(subjects, key=lambda subject: subject.summary.rows)
    merged = merge_windows([subject.summary for subject in subjects])
    parts: dict[datetime, list[OutcomeSummary]] = {}
    for subject in subjects:
        for start, outcome in subject.blocks.items():
            parts.setdefault(start, []).append(outcome)
    blocks = {start: merge_outcomes(outcomes) for start, outcomes in parts.items()}
    return Subject("champion", "", largest.version_id, largest.segment, merged, blocks)


def points_of(context: Context, subject: Subject, span: str, start: datetime) -> list[MetricPoint]:
    """Measure every metric of the model's monitors; the rows are not saved.

    What cannot be measured stops nothing else: its point is an error, and `context.failures` says why.
    """
    window = Period(start, following(start, span))
    points: list[Point] = []
    try:
        reference = context.references.of(subject.version_id, window)
    except DatabaseError:
        raise
    except Exception as error:
        reference = None
        points.append(_failed(context, span, start, MonitorKind.DRIFT, error))
    for kind, monitor in context.monitors.items():
        if span == "hour" and monitor.span != "hour" and kind not in HOURLY_KINDS:
            continue
        try:
            points += _points_of_kind(context, kind, monitor, subject, reference, span, window)
        except DatabaseError:
            raise
        except Exception as error:
            points.append(_failed(context, span, start, kind, error))
    return [row_of(context, subject, span, start, point) for point in points]


def _points_of_kind(
    context: Context,
    kind: str,
    monitor: Monitor,
    subject: Subject,
    reference: LoadedReference | None,
    span: str,
    window: Period,
) -> list[Point]:
    """Measure the metrics of one monitor."""
    whole, end = subject.is_whole, window.end
    if kind == MonitorKind.SERVICE and whole:
        objective = context.model.objectives.get("latency_p99_ms")
        return service_points(subject.summary, length=end - window.start, latency_objective_ms=objective)
    if kind == MonitorKind.PERFORMANCE:
        points = _performance(context, monitor, subject, reference.performance if reference else {}, end)
        if reference is not None and _can_estimate(reference, subject):
            points += _estimated(context, monitor, subject, reference, span, window)
        return points + (_labels(context, monitor, subject, end) if subject.is_champion and whole else [])
    if kind == MonitorKind.QUALITY and subject.is_champion and whole:
        return _of_each_feature(
            context,
            lambda summary: _quality(summary, reference, context.expected, monitor.min_rows),
            subject.summary,
            "missing_share",
            (span, window.start),
        )
    if kind == MonitorKind.DRIFT and subject.is_champion and reference is not None:
        return _of_each_feature(
            context,
            lambda summary: _drift(summary, reference, monitor, window),
            subject.summary,
            "psi",
            (span, window.start),
        )
    return []


def _drift(
    summary: WindowSummary, reference: LoadedReference, monitor: Monitor, window: Period
) -> list[Point]:
    drift = drift_points(
        summary,
        reference,
        length=window.end - window.start,
        min_rows=monitor.min_rows,
        method=monitor.method,
    )
    count = drifted_features(drift, summary.rows, monitor.min_rows)
    return [*drift, *annotate_reference([count], reference)]


def _of_each_feature(
    context: Context,
    measured: Callable[[WindowSummary], list[Point]],
    summary: WindowSummary,
    metric: str,
    window: tuple[str, datetime],
) -> list[Point]:
    """Measure all features of a summary; where that fails, those that do not fail alone, and `metric` of the others as
    an error.
    """
    try:
        return measured(summary)
    except DatabaseError:
        raise
    except Exception:
        failed = _failing_features(measured, summary)
        if not failed:
            raise
    sound = {name: column for name, column in summary.features.items() if name not in failed}
    points = measured(replace(summary, features=sound))
    for name, error in failed.items():
        why = _note(context, window, error, f"{name}: ")
        points.append(Point(metric, None, 0, PointStatus.ERROR, feature=name, detail={"why": why}))
    return points


def _failing_features(
    measured: Callable[[WindowSummary], list[Point]], summary: WindowSummary
) -> dict[str, Exception]:
    failed: dict[str, Exception] = {}
    for name, column in summary.features.items():
        try:
            measured(replace(summary, features={name: column}, prediction=None, score=None))
        except DatabaseError:
            raise
        except Exception as error:
            failed[name] = error
    return failed


HEADLINES = {
    MonitorKind.SERVICE: "count",
    MonitorKind.PERFORMANCE: "label_coverage",
    MonitorKind.QUALITY: "faulty_features",
    MonitorKind.DRIFT: "drifted_features",
}
"""The metric that is an error where a monitor's metrics cannot be measured."""


def _failed(context: Context, span: str, start: datetime, kind: str, error: Exception) -> Point:
    why = _note(context, (span, start), error, f"{MonitorKind(kind).label}: ")
    return Point(HEADLINES[MonitorKind(kind)], None, 0, PointStatus.ERROR, detail={"why": why})


def _note(context: Context, window: tuple[str, datetime], error: Exception, what: str) -> str:
    log.error("not measured", exc_info=error, extra={"model": context.model.pk, "window": str(window)})
    why = f"{what}{reason_of(error)}"
    reasons = context.failures.setdefault(window, [])
    if why not in reasons:
        reasons.append(why)
    return why


def drift_rows_of(
    context: Context, feature: str, subject: Subject, span: str, start: datetime
) -> list[MetricPoint] | None:
    """Measure the drift of one feature; None where it depends on the others, which the subject's summary may lack."""
    window = Period(start, following(start, span))
    reference = context.references.of(subject.version_id, window)
    monitor = context.monitors.get(MonitorKind.DRIFT)
    if monitor is None or reference is None or not subject.is_champion:
        return []
    points = drift_points_of(
        feature,
        subject.summary,
        reference,
        length=window.end - window.start,
        min_rows=monitor.min_rows,
        method=monitor.method,
    )
    return None if points is None else [row_of(context, subject, span, start, point) for point in points]


def _can_estimate(reference: LoadedReference, subject: Subject) -> bool:
    return reference.version_id == subject.version_id and subject.is_whole and not reference.lacks


def _quality(
    summary: WindowSummary,
    reference: LoadedReference | None,
    expected: Mapping[str, Expectation],
    min_rows: int,
) -> list[Point]:
    if reference is None:
        return quality_points(summary, None, {}, expected=expected, min_rows=min_rows)
    points = quality_points(
        summary, reference.summary, reference.worst_days, expected=expected, min_rows=min_rows
    )
    return annotate_reference(points, reference)


def _labels(context: Context, monitor: Monitor, subject: Subject, end: datetime) -> list[Point]:
    hours = context.model.objectives.get("label_lag_hours")
    return label_points(
        subject.summary,
        context.signature_of(subject.version_id),
        end=end,
        ripeness=_ripeness(context, monitor),
        lag_objective_s=3_600 * float(hours) if hours else None,
    )


def _ripeness(context: Context, monitor: Monitor) -> Ripeness:
    return Ripeness(monitor.min_rows, monitor.min_label_coverage, context.label_lag, context.event_now)


def _performance(
    context: Context, monitor: Monitor, subject: Subject, usual: dict[str, dict[str, float]], end: datetime
) -> list[Point]:
    return performance_points(
        subject.summary,
        usual if subject.is_whole else {},
        end=end,
        ripeness=_ripeness(context, monitor),
        positive_class=context.signature_of(subject.version_id).positive_class,
        quantile=context.model.objectives.get("quantile"),
        blocks=list(subject.blocks.values()),
    )


def _estimated(
    context: Context,
    monitor: Monitor,
    subject: Subject,
    reference: LoadedReference,
    span: str,
    window: Period,
) -> list[Point]:
    """Estimate by the version's own reference; the draws are the same whenever and wherever they are made.

    Of a day whose rows will be read there is no estimate before: rules would take two ways of estimating for a change.
    """
    errors = None
    if context.model.task == "regression":
        errors = expected_rows(
            context.model,
            reference,
            role=subject.role,
            version=subject.version,
            rows=subject.summary.rows,
            span=span,
            window=window,
        )
        if errors.is_awaited:
            return []
    population = zlib.crc32(f"{subject.role} {subject.version}".encode())
    return estimated_points(
        subject.summary,
        reference,
        length=window.end - window.start,
        min_rows=monitor.min_rows,
        positive_class=context.signature_of(subject.version_id).positive_class,
        errors=errors,
        rng=np.random.default_rng([reference.seed, int(window.start.timestamp()), population]),
    )


def gap_rows(
    context: Context, measured: Iterable[MetricPoint], span: str, start: datetime
) -> list[MetricPoint]:
    """Compare the groups of each declared segment by the points that were measured of them."""
    population = Population(PredictionRole.CHAMPION, "")
    return [
        row_of(context, population, span, start, point)
        for point in gap_points(measured, context.segment_features)
    ]


def request_rows(context: Context, requests: RequestLog, span: str, start: datetime) -> list[MetricPoint]:
    """Measure how many requests were not answered, there may have been no others, how long they waited, and how many
    copies were dropped.
    """
    if MonitorKind.SERVICE not in context.monitors:
        return []
    found = requests.points(Period(start, following(start, span)))
    return [
        row_of(context, Population(*population), span, start, point)
        for population, points in found.items()
        for point in points
    ]


def row_of(
    context: Context, population: Population | Subject, span: str, start: datetime, point: Point
) -> MetricPoint:
    """Make the row of a measured point; it is not saved."""
    return MetricPoint(
        model=context.model,
        role=population.role,
        version=population.version,
        segment=population.segment,
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
