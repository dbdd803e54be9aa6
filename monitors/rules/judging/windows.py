"""The windows that a rule judges: its points, one window after another, each with what the rule's condition says."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from django.db.models import Max, QuerySet

from driftline.base.periods import earlier, end_of, floor
from monitors.metrics.catalogue import METRICS
from monitors.metrics.limits import RAISED, SILENT, status_by_reference
from monitors.metrics.store.models import MetricPoint, PackedPoints, PointStatus
from monitors.rules.judging.condition_trees import (
    LAST_WINDOWS,
    DeviationsAway,
    FixedThreshold,
    OwnLimit,
    Term,
    TimesBefore,
    TreeVerdict,
    decide,
    terms_of,
)
from monitors.rules.models import Rule, operator_of
from monitors.stats.performance.estimate import Z95

MAD_TO_SD = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation,"""
MEAN_DEVIATION_TO_SD = 1.2533
"""and in one mean absolute deviation."""
_DAY = timedelta(days=1)
_UNUSABLE = (*SILENT, PointStatus.UNRIPE)

type _SeriesKey = tuple[str, str, str]


@dataclass(frozen=True)
class PointReading:
    """What a term finds in one window: in `point` of several features the one furthest beyond, of the judged ones.

    `limit` is the right side as a number, None where it has none; `point` is None where nothing was measured.
    """

    term: Term
    holds: bool | None = None
    limit: float | None = None
    point: MetricPoint | None = None

    @property
    def value(self) -> float | None:
        """The value, but for one that says nothing: of too few rows, or unreliable."""
        is_silent = self.point is None or self.point.status in SILENT
        return None if self.point is None or is_silent else self.point.value

    @property
    def operator(self) -> str:
        """The side of the limit that is bad."""
        return operator_of(self.term)


@dataclass(frozen=True)
class Window:
    """One closed window of a rule, with the first reading that decides: value, feature and rows are of that one.

    `readings` are those of all comparisons, as they are written.
    """

    start: datetime
    end: datetime
    reading: PointReading
    readings: tuple[PointReading, ...]
    status: str
    is_breached: bool | None
    is_critical: bool
    is_recovered: bool
    lacks_point: bool
    """Whether it says nothing, and some comparison has no point at all."""

    @property
    def feature(self) -> str:
        return self.reading.point.feature if self.reading.point else self.reading.term.feature

    @property
    def value(self) -> float | None:
        return self.reading.value

    @property
    def n(self) -> int:
        return self.reading.point.n if self.reading.point else 0

    @property
    def threshold(self) -> float | None:
        """The right side of what decides, as a number."""
        return self.reading.limit

    @property
    def detail(self) -> dict[str, Any]:
        return (self.reading.point.detail if self.reading.point else None) or {}


# -- which points ------------------------------------------------------------------------------------------------------
def points_of(rule: Rule) -> QuerySet[MetricPoint]:
    """Select the points that a rule without a condition looks at."""
    return _points_of_term(rule, rule.metric, rule.feature, rule.segment)


def _points_of_term(rule: Rule, metric: str, feature: str, segment: str) -> QuerySet[MetricPoint]:
    points = MetricPoint.objects.filter(
        model=rule.model, span=rule.judged_span, metric=metric, segment=segment, role="champion", version=""
    )
    return points if feature == "*" else points.filter(feature=feature)


def read_windows(rule: Rule, *, since: datetime | None, until: datetime) -> list[Window]:
    """Read the windows of a rule that start from `since` on and end by `until`, oldest first, by one query of points.

    A rule with a condition, or one that cares for missing data, has each window in which its model was measured; other
    rules have those with a point.
    """
    measured = _measured_windows(rule, since=since, until=until) if rule.looks_at_every_window else {}
    points = _read_points(rule, since=since, until=until)
    return gather(rule, points, since=since, measured=measured)


def _read_points(rule: Rule, *, since: datetime | None, until: datetime) -> QuerySet[MetricPoint]:
    """Select the points of all comparisons, each once, with those before that their right sides ask for."""
    queries = []
    for (metric, feature, segment), start in _series_needed(rule, since).items():
        points = _points_of_term(rule, metric, feature, segment).filter(end__lte=until)
        queries.append(points if start is None else points.filter(start__gte=start))
    first, *others = queries
    return first.union(*others, all=True) if others else first


def _series_needed(rule: Rule, since: datetime | None) -> dict[_SeriesKey, datetime | None]:
    """Return the metrics, features and segments of a rule, with from when on their points are needed; a feature is left
    out where any of its metric and segment is looked at."""
    terms = rule.terms
    of_any = {(term.metric, term.segment) for term in terms if term.feature == "*"}
    needed: dict[_SeriesKey, datetime | None] = {}
    for term in terms:
        key = term.metric, "*" if (term.metric, term.segment) in of_any else term.feature, term.segment
        if since is None:
            needed[key] = None
        else:
            start = _first_needed(rule, term, since)
            needed[key] = min(start, needed.get(key) or start)
    return needed


def _first_needed(rule: Rule, term: Term, start: datetime) -> datetime:
    match term.right:
        case TimesBefore(days_before=days):
            return start - days * _DAY
        case DeviationsAway(last_windows=windows):
            return earlier(floor(start, rule.judged_span), rule.judged_span, windows)
    return start


def _measured_windows(rule: Rule, *, since: datetime | None, until: datetime) -> dict[datetime, bool]:
    """Return the windows that have ended and of which anything was measured, by their start: whether their labels are
    still coming."""
    rows = PackedPoints.objects.filter(
        model=rule.model, span=rule.judged_span, role="champion", version="", segment="", start__lt=until
    )
    if since is not None:
        rows = rows.filter(start__gte=since)
    ripe = rows.order_by("start").values("start").annotate(latest=Max("ripe_at"))
    return {
        one["start"]: one["latest"] is not None and one["latest"] > until
        for one in ripe
        if end_of(one["start"], rule.judged_span) <= until
    }


# -- what they say -----------------------------------------------------------------------------------------------------
def gather(
    rule: Rule,
    points: Iterable[MetricPoint],
    *,
    since: datetime | None = None,
    measured: Mapping[datetime, bool] | None = None,
) -> list[Window]:
    """Group points by window, beside those that were `measured`, by whether their labels are still coming, although the
    rule may have no point there; points before `since` only say what was usual.

    A point that is insufficient or an error, or of an estimate that is unreliable, keeps its place and says nothing. A
    feature or class of few rows is silent by itself.
    """
    history, measured = _History(rule, points), measured or {}
    return [
        _judged(rule, start, history, are_labels_coming=measured.get(start, False))
        for start in sorted({*history.starts, *measured})
        if since is None or start >= since
    ]


def _judged(rule: Rule, start: datetime, history: "_History", *, are_labels_coming: bool) -> Window:
    readings: list[PointReading] = []

    def read(term: Term) -> PointReading:
        readings.append(history.read(term, start))
        return readings[-1]

    verdict = decide(history.tree, read)
    first = verdict.ground
    is_unripe = any(_is_unripe(one, are_labels_coming=are_labels_coming) for one in readings)
    return Window(
        start=start,
        end=end_of(start, rule.judged_span) if first.point is None else first.point.end,
        reading=first,
        readings=tuple(readings),
        status=PointStatus.UNRIPE
        if is_unripe
        else first.point.status
        if first.point
        else PointStatus.NO_DATA,
        is_breached=verdict.holds,
        is_critical=bool(verdict.holds) and rule.is_critical_at(first.value),
        is_recovered=_is_recovered(rule, verdict, first),
        lacks_point=verdict.holds is None and any(one.point is None for one in readings),
    )


def _is_unripe(reading: PointReading, *, are_labels_coming: bool) -> bool:
    if reading.point is not None:
        return reading.point.status == PointStatus.UNRIPE
    return are_labels_coming and METRICS[reading.term.metric].needs_labels


def _is_recovered(rule: Rule, verdict: TreeVerdict[PointReading], first: PointReading) -> bool:
    if rule.condition is not None or rule.recovery_threshold is None:
        return verdict.holds is False
    return verdict.holds is False and first.value is not None and rule.is_recovered_by(first.value)


@dataclass
class _Series:
    """The values of one metric, feature and segment that may say what is usual, by the start of their windows."""

    starts: list[datetime] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def at(self, start: datetime) -> float | None:
        place = bisect_left(self.starts, start)
        return self.values[place] if self.starts[place : place + 1] == [start] else None

    def between(self, since: datetime, until: datetime) -> list[float]:
        return self.values[bisect_left(self.starts, since) : bisect_left(self.starts, until)]


class _History:
    """The points of a rule by window and term, and what was usual before each."""

    def __init__(self, rule: Rule, points: Iterable[MetricPoint]) -> None:
        self._rule, self.tree = rule, rule.tree
        self._by_window: dict[tuple[datetime, str, str], list[MetricPoint]] = {}
        self._series: dict[_SeriesKey, _Series] = {}
        compared = {
            term.metric
            for term in terms_of(self.tree)
            if not isinstance(term.right, FixedThreshold | OwnLimit)
        }
        for point in sorted(points, key=lambda one: one.start):
            key = point.start, point.metric, point.segment
            self._by_window.setdefault(key, []).append(point)
            if point.metric in compared and self._is_usable(point):
                series = self._series.setdefault((point.metric, point.feature, point.segment), _Series())
                series.starts.append(point.start)
                series.values.append(point.value)  # type: ignore[arg-type]

    @property
    def starts(self) -> set[datetime]:
        """The windows that have a point."""
        return {start for start, _, _ in self._by_window}

    def read(self, term: Term, start: datetime) -> PointReading:
        """Return what a term finds in the window that starts then."""
        points = self._by_window.get((start, term.metric, term.segment), [])
        readings = [self._read_point(term, point) for point in points if term.feature in ("*", point.feature)]
        return _deciding(readings) if readings else PointReading(term)

    def _read_point(self, term: Term, point: MetricPoint) -> PointReading:
        limit = self._limit_of(term, point)
        reading = PointReading(term, None, limit, point)
        if reading.value is None or limit is None:
            return reading
        holds = self._rule.breaks_at(point, limit, reading.operator)
        if holds is not None and isinstance(term.right, OwnLimit):
            holds = status_by_reference(point) in RAISED
        return replace(reading, holds=holds)

    def _limit_of(self, term: Term, point: MetricPoint) -> float | None:
        match term.right:
            case FixedThreshold(threshold):
                return threshold
            case OwnLimit():
                is_informative = status_by_reference(point) != PointStatus.NOT_INFORMATIVE
                return point.threshold if is_informative else None
            case TimesBefore(times, days):
                before = self._series_of(point).at(point.start - days * _DAY)
                return None if before is None else times * before
            case DeviationsAway(deviations, windows):
                since = earlier(point.start, self._rule.judged_span, windows)
                values = self._series_of(point).between(since, point.start)
                if len(values) < max(LAST_WINDOWS[0], windows / 2):
                    return None
                middle, deviation = middle_and_deviation(values)
                deviation = max(deviation, _standard_error(point))
                if not deviation:  # they were all the same, and of chance nothing is known
                    return None
                return middle + (deviations if term.operator == "above" else -deviations) * deviation

    def _series_of(self, point: MetricPoint) -> _Series:
        return self._series.get((point.metric, point.feature, point.segment)) or _Series()

    def _is_usable(self, point: MetricPoint) -> bool:
        return (
            point.value is not None
            and point.status not in _UNUSABLE
            and not self._rule.has_too_few_rows(point)
        )


def _standard_error(point: MetricPoint) -> float:
    """Read how far chance moves a point from its interval of 95%; 0 where it has none."""
    if point.lower is None or point.upper is None:
        return 0.0
    return (point.upper - point.lower) / (2 * Z95)


def _deciding(readings: Sequence[PointReading]) -> PointReading:
    """Choose the reading furthest beyond its limit, of those that are judged; where none is, of what was measured."""
    judged = [one for one in readings if one.holds is not None]
    valued = [one for one in readings if one.value is not None and one.limit is not None]
    return max(judged or valued or readings, key=_how_far)


def _how_far(reading: PointReading) -> tuple[bool, bool, float]:
    if reading.value is None or reading.limit is None:
        return False, False, 0.0
    excess = reading.value - reading.limit
    return bool(reading.holds), True, excess if reading.operator == "above" else -excess


def middle_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Return the median of values and how far they usually are from it, as a standard deviation.

    That is the median absolute deviation, which outliers do not move, times 1.4826; where more than half of the values
    are the same, the mean absolute deviation times 1.2533 (Iglewicz and Hoaglin, 1993).

    >>> middle_and_deviation([1.0, 2.0, 3.0, 4.0, 100.0])
    (3.0, 1.4826)
    >>> middle_and_deviation([2.0, 2.0, 2.0]), middle_and_deviation([1.0, 1.0, 1.0, 1.0, 6.0])
    ((2.0, 0.0), (1.0, 1.2533))
    """
    middle = median(values)
    distances = [abs(value - middle) for value in values]
    if (deviation := median(distances)) > 0:
        return middle, MAD_TO_SD * deviation
    return middle, MEAN_DEVIATION_TO_SD * sum(distances) / len(distances)
