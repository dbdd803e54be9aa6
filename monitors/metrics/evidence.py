"""Adds up what successive windows say, although each of them may be chance: slow drift, slow loss, many near misses.

Each feature's p-value of drift, and that of each metric of performance, is a bet against chance; the kernel
(`monitors/stats/streams/evidence.py`) multiplies the bets of successive windows. One odd day moves little, and where a
feature stands out on most of its days there is no evidence of many: its own points tell it. Another reference begins
anew.

Days, weeks and months count, whichever are judged: the hours of a day resemble each other and are no witnesses of their
own. Where late data change a window, what follows is added up again from the state before it (`detector_states.py`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import log10
from typing import Any

from django.db.models import Q, QuerySet

from inference.prediction_log.models import PredictionRole
from inference.registry.models import Model
from monitors.definitions.models import MonitorKind
from monitors.metrics.catalogue import ANSWER_COLUMNS, EVIDENCE_METRICS, METRICS, measure_of
from monitors.metrics.context import Context
from monitors.metrics.limits import RAISED
from monitors.metrics.store.detector_states import WeeklyStates
from monitors.metrics.store.models import Accumulator, MetricPoint, PointStatus
from monitors.metrics.store.points import Point, Population, row_of
from monitors.metrics.store.storing import forget_points, save_points
from monitors.stats.streams.evidence import BUDGET, Accumulated, Chance, Evidence, StreamOnset
from monitors.summaries.models import StaleWindow

LIMIT = log10(BUDGET)
"""Powers of ten beyond which people are notified of all features or metrics together."""
MAX_NAMES = 5
_NAMED_WITHIN = 1.0  # powers of ten of the feature or metric that has most
_WORTH_SAYING = 1.0  # powers of ten from which a point says since when
_POPULATION = Population(PredictionRole.CHAMPION, "")
_SILENT = (PointStatus.INSUFFICIENT, PointStatus.NO_DATA, PointStatus.ERROR)
_JUDGED_BY = {
    "binary": ("roc_auc", "log_loss", "accuracy"),
    "multiclass": ("log_loss", "accuracy"),
    "regression": ("mae",),
    "ranking": ("ndcg",),
}


@dataclass(frozen=True)
class _Source:
    """Where one accumulator's p-values come from, and the metrics that it has points of."""

    kind: MonitorKind
    accumulator: Accumulator
    p_value: str
    together: str
    by_feature: str = ""

    @property
    def spans(self) -> tuple[str, ...]:
        return METRICS[self.together].spans

    def metrics_of(self, model: Model) -> Sequence[str]:
        if self.kind == MonitorKind.DRIFT:
            return ("psi",)  # which stands for its feature
        objective = (model.objectives.get("quality") or {}).get("metric")
        return (*_JUDGED_BY[model.task], *([objective] if objective else []))

    def name_of(self, point: MetricPoint) -> str:
        return point.feature if self.by_feature else point.metric

    def chance_of(self, point: MetricPoint) -> Chance:
        """Read what a point adds. Of performance none stands out: its limits are what 1 of 20 days is beyond."""
        detail = point.detail or {}
        stands_out = self.kind == MonitorKind.DRIFT and point.status in RAISED
        return Chance(detail[self.p_value], detail["reference_windows"], stands_out)


_SOURCES = (
    _Source(
        MonitorKind.DRIFT,
        Accumulator.DRIFT,
        "decision_p_value",
        "drift_evidence",
        "drift_evidence_by_feature",
    ),
    _Source(MonitorKind.PERFORMANCE, Accumulator.PERFORMANCE, "p_value", "performance_evidence"),
)


def add_up_evidence(context: Context, measured: Sequence[StaleWindow], rows: Sequence[MetricPoint]) -> None:
    """Add what was measured of these windows to the evidence, in the transaction that stored the rows.

    Windows that wait for labels are nothing to read yet.
    """
    unripe = {(row.span, row.start) for row in rows if row.status == PointStatus.UNRIPE}
    for source in _SOURCES:
        if source.kind not in context.monitors:
            continue
        waiting = unripe if source.kind == MonitorKind.PERFORMANCE else set()
        for span in source.spans:
            starts = {one.start for one in measured if one.span == span and (span, one.start) not in waiting}
            if starts:
                _read_again(context.model, source, span, starts)


def _read_again(model: Model, source: _Source, span: str, measured: Collection[datetime]) -> None:
    """Go on from the last state before these windows, and store the points of all from then on.

    One of them that says nothing any more keeps none.
    """
    since = min(measured)
    key = {
        "model": model,
        "role": _POPULATION.role,
        "version": "",
        "span": span,
        "detector": source.accumulator,
    }
    states = WeeklyStates.before(key, since=since)
    evidence = Accumulated.decode(states.payload) if states.payload else Accumulated()
    stored = _stored(model, source, span, states.begin)
    unripe = stored.filter(status=PointStatus.UNRIPE).values_list("start", flat=True).first()
    silent = {start for start in measured if unripe is None or start < unripe}
    found: list[MetricPoint] = []
    for start, points in _windows(stored.filter(start__lt=unripe) if unripe else stored):
        states.reach(start, evidence.encode)
        reference = (points[0].detail or {})["reference_id"]
        if reference != evidence.reference:
            evidence = Accumulated(reference)
        chances = {source.name_of(point): source.chance_of(point) for point in points}
        evidence.update(chances, int(start.timestamp()))
        silent.discard(start)
        if start >= since:
            of_window = _points_of(source, evidence, points)
            found += [row_of(model, _POPULATION, span, start, point) for point in of_window]
    states.store()
    save_points(found)
    if silent:
        forget_points(model.pk, Q(measure=measure_of(source.together), span=span, start__in=silent))


def _stored(model: Model, source: _Source, span: str, begin: datetime) -> QuerySet[MetricPoint]:
    points = MetricPoint.objects.filter(
        model=model, span=span, metric__in=source.metrics_of(model), role=_POPULATION.role, version="", segment="",
        start__gte=begin,
    )  # fmt: skip
    return points.order_by("start", "metric", "feature").defer("lower", "upper", "threshold")


def _windows(stored: QuerySet[MetricPoint]) -> Iterator[tuple[datetime, list[MetricPoint]]]:
    """List the windows that were compared, with those of their points that were."""
    judged = stored.filter(value__isnull=False).exclude(status__in=_SILENT)
    for start, points in groupby(judged, key=lambda point: point.start):
        compared = [point for point in points if "reference_id" in (point.detail or {})]
        if compared:
            yield start, compared


def _points_of(source: _Source, evidence: Accumulated, points: Sequence[MetricPoint]) -> Iterator[Point]:
    """Make the points of a window: of all streams together, and of each feature that was compared."""
    rows = max(point.n for point in points)
    names = [name for name in evidence.streams if not source.by_feature or name not in ANSWER_COLUMNS]
    power = evidence.together(names)
    detail = _described(source, evidence, names) if power >= _WORTH_SAYING else {}
    yield _judged(source.together, power, rows, LIMIT, detail=detail)
    for point in points if source.by_feature else ():
        stream = evidence.streams[point.feature]
        since = _since(stream) if stream.of_many >= _WORTH_SAYING else {}
        yield _judged(
            source.by_feature, stream.of_many, point.n, evidence.limit, feature=point.feature, detail=since
        )


def _judged(
    metric: str, power: float, n: int, limit: float, *, detail: dict[str, Any], feature: str = ""
) -> Point:
    status = PointStatus.WARNING if power > limit else PointStatus.OK
    return Point(
        metric, round(power, 3), n, status, feature=feature, threshold=round(limit, 3), detail=detail
    )


def _described(source: _Source, evidence: Accumulated, names: Sequence[str]) -> dict[str, Any]:
    """Return since when, from how many windows, and which features or metrics hold most of it."""
    ranked = sorted(names, key=lambda name: -evidence.streams[name].of_many)
    first = evidence.streams[ranked[0]]
    most = [name for name in ranked if 0 < evidence.streams[name].of_many >= first.power - _NAMED_WITHIN]
    counted = [name if source.by_feature else METRICS[name].title for name in most[:MAX_NAMES]]
    return {**_since(first), "counted": counted}


def _since(stream: Evidence) -> dict[str, Any]:
    """Return when the change probably was, from when to when it may have been, and how many windows came since."""
    found = stream.onset()
    if found is None:
        found = StreamOnset(stream.since, stream.since, stream.since, stream.windows, stream.standing_out)
    standing_out = {"standing_out": found.standing_out} if found.standing_out else {}
    return {
        "onset": _time_of(found.mark),
        "onset_from": _time_of(found.first),
        "onset_to": _time_of(found.last),
        "windows": found.windows,
        **standing_out,
    }


def _time_of(mark: int) -> str:
    return datetime.fromtimestamp(mark, UTC).isoformat()


def evidence_sentence(metric: str, value: float | None, detail: Mapping[str, Any], length: timedelta) -> str:
    """Return since when how many windows of a length add up to which odds; empty where that is not worth saying."""
    if metric not in EVIDENCE_METRICS or value is None or "onset" not in detail:
        return ""
    n, onset = int(detail["windows"]), datetime.fromisoformat(detail["onset"])
    within = " that were each within chance"
    if METRICS[metric].kind == MonitorKind.PERFORMANCE:
        within = ""
    elif detail.get("standing_out"):
        within = f", {n - detail['standing_out']} of them within chance,"
    span = {1: "day", 7: "week"}.get(length.days, "month")
    windows = f"{n} {span}{'s' if n != 1 else ''}{within}"
    names = f" ({', '.join(detail['counted'])})" if detail.get("counted") else ""
    return f"Since {onset:%-d %b %Y}{onset_range(detail)}, {windows} add up to 1 : {_odds(value)}{names}"


def onset_range(detail: Mapping[str, Any]) -> str:
    """Write from when to when the onset may have been; empty where that is one window."""
    first, last = detail.get("onset_from"), detail.get("onset_to")
    if not first or not last or first == last:
        return ""
    begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
    return f" (95 %: {begin:%-d %b} to {end:%-d %b})"


def _odds(power: float) -> str:
    """Write odds with two figures, as their third is chance."""
    digits = max(int(power) - 1, 0)
    return f"{round(10**power, -digits):,.0f}"
