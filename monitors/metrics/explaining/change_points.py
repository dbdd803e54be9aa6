"""Where a version's error changed, as detectors notice that read its ripe windows in event time.

A window gives one number: of a task with classes the share of wrong answers, of a ranking what its NDCG lacks of 1, of
a regression the mean absolute error. It is a window's and not a row's, because rows of one time resemble each other and
detectors take what they read as drawn independently; and it is the window that the performance monitor judges (a day
where enough labels come in one), as the hours of a day resemble each other too. Windows with too few labels or too low
a coverage are left out, and none is read before those before it are ripe.

Labels come late and are corrected, so what was read may change. Where a window is measured again detectors go on from
their last state before it (`detector_states.py`), and what they had noticed since then gives way to what they notice
now.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet

from driftline.base.number_format import format_number
from driftline.base.periods import counted
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.context import Context
from monitors.metrics.store.detector_states import WeeklyStates
from monitors.metrics.store.models import (
    MEASURED,
    ChangePoint,
    Detector,
    DetectorState,
    MetricPoint,
    PointStatus,
)
from monitors.stats.streams.adwin import Adwin
from monitors.stats.streams.change import Change
from monitors.stats.streams.page_hinkley import PageHinkley
from monitors.summaries.models import StaleWindow

KERNELS: dict[Detector, type[Adwin | PageHinkley]] = {
    Detector.ADWIN: Adwin,
    Detector.PAGE_HINKLEY: PageHinkley,
}
_METRICS = {
    ChangePoint.Error.WRONG_SHARE: "accuracy",
    ChangePoint.Error.MAE: "mae",
    ChangePoint.Error.NDCG_LOSS: "ndcg",
}
_ERRORS = {"regression": ChangePoint.Error.MAE, "ranking": ChangePoint.Error.NDCG_LOSS}
_MAX_ERROR = 1e100  # of an error that detectors read: sums of its square must be floats


@dataclass(frozen=True)
class _Stream:
    """The error of one version in one role, window by window."""

    model: Model
    role: str
    version: str
    span: str
    error: ChangePoint.Error

    @property
    def key(self) -> dict[str, Any]:
        return {"model": self.model, "role": self.role, "version": self.version, "span": self.span}

    @property
    def points(self) -> QuerySet[MetricPoint]:
        whole = MetricPoint.objects.filter(**self.key, metric=_METRICS[self.error], feature="", segment="")
        return whole.order_by("start").only("start", "end", "value", "status")

    def error_of(self, point: MetricPoint) -> float | None:
        """Return a window's error; None where it has none that may be judged."""
        if point.status not in MEASURED or point.value is None:
            return None
        error = point.value if self.error == ChangePoint.Error.MAE else 1.0 - point.value
        return error if math.isfinite(error) and abs(error) < _MAX_ERROR else None


def look_for_changes(context: Context, measured: Sequence[StaleWindow], rows: Sequence[MetricPoint]) -> None:
    """Pass what was measured of these windows to the detectors, in the transaction that stored the rows.

    Windows that wait for labels, as the present day does all day long, are nothing to read yet.
    """
    monitor = context.monitors.get(MonitorKind.PERFORMANCE)
    if monitor is None:
        return
    waiting = {(row.span, row.start) for row in rows if row.status == PointStatus.UNRIPE}
    starts = {window.start for window in measured if window.span == monitor.span}
    starts -= {start for span, start in waiting if span == monitor.span}
    if not starts:
        return
    for stream in _streams(context.model, monitor.span, since=min(starts)):
        for detector in Detector:
            _read_again(stream, detector, since=min(starts))


def _streams(model: Model, span: str, *, since: datetime) -> list[_Stream]:
    """List the versions that have windows from `since` on, or had some that are gone."""
    error = _ERRORS.get(model.task, ChangePoint.Error.WRONG_SHARE)
    points = MetricPoint.objects.filter(
        model=model, span=span, metric=_METRICS[error], feature="", segment="", start__gte=since
    ).exclude(version="")
    read = DetectorState.objects.filter(model=model, span=span, until__gt=since, detector__in=Detector.values)
    noticed = ChangePoint.objects.filter(model=model, span=span, noticed_at__gt=since)
    versions = points.values_list("role", "version").union(
        read.values_list("role", "version"), noticed.values_list("role", "version")
    )
    return [_Stream(model, role, version, span, error) for role, version in sorted(versions)]


def _read_again(stream: _Stream, detector: Detector, *, since: datetime) -> None:
    """Go on from the last state before `since`, or from the first window that there is."""
    states = WeeklyStates.before({**stream.key, "detector": detector}, since=since)
    kernel = KERNELS[detector].decode(states.payload) if states.payload else KERNELS[detector]()
    noticed: list[ChangePoint] = []
    for point in stream.points.filter(start__gte=states.begin):
        if point.status == PointStatus.UNRIPE:
            break
        error = stream.error_of(point)
        if error is None:
            continue
        states.reach(point.start, kernel.encode)
        change = kernel.update(error, int(point.start.timestamp()))
        if change is not None:
            noticed.append(_row(stream, detector, change, noticed_at=point.end))
    states.store()
    _replace(stream, detector, noticed, after=states.begin)


def _row(stream: _Stream, detector: Detector, change: Change, *, noticed_at: datetime) -> ChangePoint:
    return ChangePoint(
        **stream.key,
        detector=detector,
        error=stream.error,
        at=datetime.fromtimestamp(change.since, UTC),
        noticed_at=noticed_at,
        before=change.before,
        after=change.after,
        n_before=change.n_before,
        n_after=change.n_after,
    )


def _replace(stream: _Stream, detector: Detector, noticed: Sequence[ChangePoint], *, after: datetime) -> None:
    """Store what was noticed after a moment; a change that was known keeps its row."""
    known = ChangePoint.objects.filter(**stream.key, segment="", detector=detector, noticed_at__gt=after)
    known.exclude(at__in=[change.at for change in noticed]).delete()
    ChangePoint.objects.bulk_create(
        noticed,
        update_conflicts=True,
        unique_fields=["model", "span", "role", "version", "segment", "detector", "at"],
        update_fields=["error", "noticed_at", "before", "after", "n_before", "n_after"],
    )


def sentence_of(change: ChangePoint) -> str:
    """Return what changed, how far, and who noticed from how many windows."""
    moved = "rose" if change.after > change.before else "fell"
    before, after = (_figure(change, value) for value in (change.before, change.after))
    name = f"{change.get_error_display()} of version {change.version}"
    return (
        f"The {name} {moved} from {before} to {after}, as {change.get_detector_display()} noticed "
        f"by {change.noticed_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC from "
        f"{counted(change.n_before, change.span)} before "
        f"and {change.n_after} after"
    )


def _figure(change: ChangePoint, value: float) -> str:
    return f"{value:.1%}" if change.error == ChangePoint.Error.WRONG_SHARE else format_number(value, 4)
