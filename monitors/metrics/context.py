"""What measures read: a model and its settings, the summary of a segment in one window, or a window as a whole."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self

from driftline.base.clock import now
from driftline.base.periods import Period
from inference.prediction_log.imports.file_ends import ended_until
from inference.prediction_log.models import ANSWERING_ROLES
from inference.prediction_log.queries.event_clock import event_now
from inference.registry.models import Model
from inference.registry.selectors import signature_of
from inference.signatures import Signature
from monitors.definitions.models import CustomMetric, Expectation, Monitor
from monitors.definitions.segment_masks import DeclaredSegments, declared_segments
from monitors.metrics.answers.segment_summaries import SegmentSummary
from monitors.metrics.catalogue import METRICS
from monitors.metrics.hooks import PeopleLimit, limits_of_people
from monitors.metrics.references.loaded import LoadedReference, References
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.traffic.request_log import RequestLog
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
    ended_until: datetime
    """Until when its windows with rows count as ended: see `inference.prediction_log.imports.file_ends`."""
    segments: DeclaredSegments = field(default_factory=DeclaredSegments)
    expected: Mapping[str, Expectation] = field(default_factory=dict)
    limits: Sequence[PeopleLimit] = ()
    """The limits that people made, which few rows may prove a breach of."""
    custom: Sequence[CustomMetric] = ()
    failures: dict[tuple[str, datetime], list[str]] = field(default_factory=dict)
    """What could not be measured, by the window's span and start: the points of it are errors."""
    metric: str = ""
    """What is measured alone; empty is all."""
    _signatures: dict[int, Signature] = field(default_factory=dict)

    def of_metric(self, metric: str) -> Self:
        """Narrow what is measured to one metric; of what is written together with it no row is made."""
        kind = METRICS[metric].kind
        monitors = {name: one for name, one in self.monitors.items() if name == kind}
        return replace(self, monitors=monitors, metric=metric)

    def judging(self, span: str) -> Self:
        """Narrow what is measured to the monitors that judge windows of a span."""
        return replace(self, monitors={name: one for name, one in self.monitors.items() if span in one.spans})

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

    @property
    def may_be_judged(self) -> bool:
        """Whether its window has rows enough, or is one of those that the monitor judges however few it has."""
        return self.span in self.monitor.spans or self.segment.summary.rows >= self.monitor.min_rows


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
        ended_until=ended_until(model=model, now=now()),
        segments=declared_segments(model),
        expected={one.feature: one for one in model.expectations.all()},
        limits=limits_of_people(model),
        custom=tuple(model.custom_metrics.order_by("name")),
    )


def label_lag(model: Model) -> timedelta:
    """Return how long labels take: the model's objective, else the p95 of what the last days showed."""
    return label_lags([model])[model.pk]


def label_lags(models: Iterable[Model]) -> dict[int, timedelta]:
    """Return of each of these models how long labels take, by its id, by one question for all without an objective."""
    hours = {model.pk: model.objectives.get("label_lag_hours") for model in models}
    payloads = _newest_labelled([pk for pk, objective in hours.items() if objective is None])
    return {
        pk: _label_lag_of(payloads.get(pk, ())) if objective is None else timedelta(hours=float(objective))
        for pk, objective in hours.items()
    }


def _newest_labelled(model_ids: Sequence[int]) -> dict[int, list[bytes]]:
    """Read the summaries of the last days with labels of each of some models."""
    days = Summary.objects.filter(role__in=ANSWERING_ROLES, span="day", segment="", labelled__gt=0)
    of_each = [
        days.filter(model=pk).order_by("-start").values_list("model_id", "payload")[:LAG_DAYS]
        for pk in model_ids
    ]
    found: dict[int, list[bytes]] = {}
    for pk, payload in of_each[0].union(*of_each[1:], all=True) if of_each else ():
        found.setdefault(pk, []).append(bytes(payload))
    return found


def _label_lag_of(payloads: Iterable[bytes]) -> timedelta:
    known = [lag for lag in map(_label_lag, payloads) if lag is not None and lag.n]
    if not known:
        return DEFAULT_LAG
    return timedelta(seconds=max(0.0, float(merge_numbers(known).quantile(0.95))))


def _label_lag(payload: bytes) -> NumericSummary | None:
    try:
        return WindowSummary.decode(payload, features=()).label_lag_s
    except UnreadableSummary:
        return None  # its own window says so
