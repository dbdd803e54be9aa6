"""What measures read: a model and its settings, the summary of a segment in one window, or a window as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self

from driftline.common.clock import now
from driftline.common.periods import Period
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.event_clock import event_now
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from inference.signatures import Signature
from monitors.definitions.models import Expectation, Monitor
from monitors.metrics.models import MetricPoint
from monitors.metrics.references.loaded import LoadedReference, References
from monitors.metrics.request_log import RequestLog
from monitors.metrics.segment_summaries import SegmentSummary
from monitors.stats.mergeable.sketches import NumericSummary, merge_numbers
from monitors.stats.mergeable.window_summary import UnreadableSummary, WindowSummary
from monitors.summaries.models import Summary

LAG_DAYS = 7
DEFAULT_LAG = timedelta(hours=1)


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
class MeasuredSummary:
    """What the metrics of one monitor are measured from: the summary of a segment in one window, and its reference."""

    context: Context
    monitor: Monitor
    segment: SegmentSummary
    reference: LoadedReference | None
    span: str
    window: Period


@dataclass(frozen=True)
class MeasuredWindow:
    """What the metrics of a window as a whole are measured from: requests, and the points of all its summaries."""

    context: Context
    requests: RequestLog
    points: Sequence[MetricPoint]
    span: str
    window: Period


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
