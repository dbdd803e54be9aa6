"""What a metric point says: which limit speaks, how its value stands to that limit, and since when.

Everything that shows, answers or sends a point asks `PointJudge`: pages, API, files, incidents and messages. Else one
window would be fine on one page and a breach on the next.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from django.db.models import Min, Q

from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.catalogue import DRIFT_METRICS, EVIDENCE_METRICS, METRICS, is_drift, measure_of
from monitors.metrics.hooks import PeopleLimit, limits_of_people
from monitors.metrics.store.models import MEASURED, MetricPoint, PackedPoints, PointStatus

NOTICE, NOT_SIGNIFICANT = "notice", "not_significant"
STATUSES = (*PointStatus.values, NOTICE, NOT_SIGNIFICANT)
"""What a point may be called: as it was measured, by the severity of the rule that speaks, or not significant."""
RAISED = (NOTICE, PointStatus.WARNING, PointStatus.CRITICAL)
JUDGED = (PointStatus.OK, NOT_SIGNIFICANT, *RAISED)
SILENT = (PointStatus.INSUFFICIENT, PointStatus.UNRELIABLE, PointStatus.ERROR)
"""A point of such a status says nothing to a rule, whatever its value is."""
METRICS_WITH_ONSET = (*EVIDENCE_METRICS, "silence")
"""Metrics that add windows up: their points say in their detail since when."""
_UNJUDGED = (*SILENT, PointStatus.UNRIPE)
WORST_IS_ONE = ("brier", "ece")
"""Metrics of performance of which 1 is the worst value; of those where more is better 0 is, but for UNBOUNDED."""
UNBOUNDED = ("r2",)
_WINDOWS_READ = 64  # before a range, at first; then ever more


def limits_for(limits: Iterable[PeopleLimit], point: MetricPoint) -> list[PeopleLimit]:
    """List those of some limits that are of a point: those of people are of all versions that answer."""
    if point.role != "champion" or point.version:
        return []
    return [
        limit
        for limit in limits
        if (limit.metric, limit.segment, limit.judged_span) == (point.metric, point.segment, point.span)
        and limit.feature in (point.feature, "*")
    ]


def is_drifted(point: MetricPoint) -> bool:
    """Return whether the reference decided that what a judged point is of has moved, whatever limit a rule has."""
    return point.calibrated_status in RAISED


@dataclass
class _Series:
    """The points of one metric and feature, in order: since when they have been beyond each limit without a break.

    `begun` goes by the place of a limit in `limits`; None stands for the calibrated limit.
    """

    limits: Sequence[PeopleLimit]
    begun: dict[int | None, datetime] = field(default_factory=dict)
    is_known: bool = False

    def breaches(self, point: MetricPoint) -> Iterator[tuple[int | None, bool]]:
        """Yield, for every limit that judges this point, whether the point is beyond it."""
        if point.status in MEASURED:
            yield None, point.status != PointStatus.OK
        for place, limit in enumerate(self.limits):
            if (is_beyond := limit.breaks(point)) is not None:
                yield place, is_beyond

    def judge(self, point: MetricPoint) -> None:
        """Set the limit that speaks of a point, its status by that limit, and since when."""
        point.calibrated_status = point.status
        if not _may_be_judged(point):
            return
        speaking: int | None = None
        was_breached = False
        for place, is_beyond in self.breaches(point):
            if is_beyond:
                self.begun.setdefault(place, point.start)
            else:
                self.begun.pop(place, None)
            if place is not None and (is_beyond or not was_breached):
                speaking, was_breached = place, is_beyond
        if speaking is None:
            _judge_by_reference(point)
        else:
            _judge_by(self.limits[speaking], point, was_breached)
        if point.status in RAISED:
            point.since = _own_onset(point) or self.begun.get(speaking)


def _own_onset(point: MetricPoint) -> datetime | None:
    """Return since when a point that adds windows up says that it is so; None of a point of its window alone.

    Of one that was read without its detail nobody asks.
    """
    if point.metric not in METRICS_WITH_ONSET or "detail" in point.get_deferred_fields():
        return None
    detail = point.detail or {}
    said = detail.get("onset") or detail.get("since")
    return datetime.fromisoformat(said) if said else None


def _may_be_judged(point: MetricPoint) -> bool:
    return point.value is not None and point.status not in _UNJUDGED


def _judge_by(limit: PeopleLimit, point: MetricPoint, is_beyond: bool) -> None:
    point.threshold, point.rule, point.is_beyond = limit.threshold, limit.name, is_beyond
    point.status = limit.severity_at(point.value) if is_beyond else PointStatus.OK


def _judge_by_reference(point: MetricPoint) -> None:
    """Take the stored status by the calibrated limit."""
    point.is_beyond = point.status in RAISED
    if is_drift(point.metric) and point.threshold is not None and point.value is not None:
        exceeds = point.value > point.threshold
        point.is_beyond = exceeds if point.metric in DRIFT_METRICS else exceeds or point.is_beyond
    point.status = status_by_reference(point)


class StoredPoint(Protocol):
    """What is stored of a point and its calibrated limit."""

    @property
    def metric(self) -> str: ...
    @property
    def value(self) -> float | None: ...
    @property
    def threshold(self) -> float | None: ...
    @property
    def status(self) -> str: ...


def status_by_reference(point: StoredPoint) -> str:
    """Return the status of a point that no rule judges: the stored one, but for a drift statistic beyond its limit
    that is not sure among so many features, and for a limit that no value can pass."""
    value, threshold = point.value, point.threshold
    if point.status != PointStatus.OK or value is None or threshold is None:
        return point.status
    if is_drift(point.metric) and value > threshold:
        return NOT_SIGNIFICANT
    return PointStatus.NOT_INFORMATIVE if _is_out_of_reach(point.metric, threshold) else PointStatus.OK


def _is_out_of_reach(name: str, threshold: float) -> bool:
    """Return whether a limit of performance is as bad as can be: a recall of 0 is not good because days were."""
    metric = METRICS.get(name)
    if metric is None or metric.kind != MonitorKind.PERFORMANCE:
        return False
    if metric.name in WORST_IS_ONE:
        return threshold >= 1
    return not metric.lower_is_better and metric.name not in UNBOUNDED and threshold <= 0


class PointJudge:
    """Sets the limit, status and since when of the points of one model, in place.

    `threshold` becomes the limit that speaks, and `rule` names the rule that it is of. Of the rules that are on for the
    point's metric, feature, segment and span, the most severe one speaks that the point breaches, else the last one
    that judges it. Where there is none, or all ask for more rows, the calibrated limit speaks. Rules are about all that
    callers were answered, so the points of a single version have calibrated limits alone.

    `status` is the severity of the rule that is breached, else `ok`; by the calibrated limit the status as it was
    measured. There a drift statistic beyond its own limit is `not_significant` when its feature does not stand out
    among all features (Benjamini-Hochberg). The psi alone may be raised within its limit: it stands for its feature,
    and another statistic, which `decided_by` in the detail names, made the decision. `calibrated_status` keeps what was
    measured. A point that was not judged keeps what it has.

    A limit of performance that no value can pass says nothing: within it a point is `not_informative`.

    `is_beyond` says whether the value lies beyond the limit, and `since` of a raised point when that began: the start
    of the first window of the unbroken run of windows beyond that same limit. Windows that were not judged break none.
    Evidence and silence add windows up, and say themselves since when.
    """

    def __init__(
        self, model: Model, limits: Sequence[PeopleLimit] | None = None, *, looks_back: bool = True
    ) -> None:
        """Judge by `limits`, the least severe first, or by the model's rules that are on.

        With `looks_back=False` nothing before the first point is read: for points that are not stored, or of which
        nobody asks since when.
        """
        self._model = model
        self._limits = limits_of_people(model) if limits is None else limits
        self._looks_back = looks_back
        self._series: dict[tuple[str, ...], _Series] = {}

    def judge(self, points: Iterable[MetricPoint]) -> list[MetricPoint]:
        """Judge points sorted by their start, each once, and return them; a later call goes on where this one ended."""
        rows = list(points)
        if self._looks_back:
            self._read_before(rows)
        for point in rows:
            self._series_of(point).judge(point)
        return rows

    def _series_of(self, point: MetricPoint) -> _Series:
        key = _key(point)
        if key not in self._series:
            self._series[key] = _Series(limits_for(self._limits, point))
        return self._series[key]

    def _read_before(self, points: Sequence[MetricPoint]) -> None:
        """Find where the runs began that go on in the first of `points`, as far back as that may be."""
        firsts: dict[tuple[str, ...], MetricPoint] = {}
        for point in points:
            series = self._series_of(point)
            if not series.is_known and _may_be_judged(point):
                firsts[_key(point)] = point
                series.is_known = True
        running = {
            key: {place for place, is_beyond in self._series[key].breaches(point) if is_beyond}
            for key, point in firsts.items()
        }
        running = {key: places for key, places in running.items() if places}
        for key, places in running.items():
            self._series[key].begun |= dict.fromkeys(places, firsts[key].start)
        for older in _older_points(self._model, [firsts[key] for key in running]):
            if not running:
                break
            self._continue(running, older)

    def _continue(self, running: dict[tuple[str, ...], set[int | None]], point: MetricPoint) -> None:
        """Move the beginning of runs back to an older point, and end those that it breaks."""
        key = _key(point)
        series, places = self._series_of(point), running.get(key, set())
        if not _may_be_judged(point):
            return
        for place, is_beyond in series.breaches(point):
            if place in places and is_beyond:
                series.begun[place] = point.start
            else:
                places.discard(place)
        if not places:
            running.pop(key, None)


def _key(point: MetricPoint) -> tuple[str, ...]:
    return point.metric, point.feature, point.segment, point.span, point.role, point.version


def _older_points(model: Model, firsts: Sequence[MetricPoint]) -> Iterator[MetricPoint]:
    """Read the points of the same series before each of `firsts`, the newest first, ever more at a time."""
    if not firsts:
        return
    which, rows = Q(), Q()
    for scope in {(one.segment, one.span, one.role, one.version) for one in firsts}:
        segment, span, role, version = scope
        mine = [one for one in firsts if (one.segment, one.span, one.role, one.version) == scope]
        metrics = {one.metric for one in mine}
        series = Q(
            segment=segment, span=span, role=role, version=version, measure__in=set(map(measure_of, metrics)),
        )  # fmt: skip
        rows |= series
        which |= series & Q(metric__in=metrics, feature__in={one.feature for one in mine})
    begins = {_key(one): one.start for one in firsts}
    stored = MetricPoint.objects.filter(which, model=model).defer("detail")
    until = max(one.start for one in firsts)
    oldest = PackedPoints.objects.filter(rows, model=model).aggregate(oldest=Min("start"))["oldest"]
    length: timedelta = _WINDOWS_READ * max(one.end - one.start for one in firsts)
    while oldest is not None and until > oldest:
        for point in stored.filter(start__gte=until - length, start__lt=until).order_by("-start"):
            if point.start < begins.get(_key(point), point.start):
                yield point
        until, length = until - length, 4 * length
