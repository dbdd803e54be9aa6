"""How every model of a project is, worst first, by as many queries for a thousand models as for one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from itertools import chain
from operator import or_

from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, JSONObject

from driftline.base.accounts.models import Project
from driftline.base.periods import longest
from driftline.operations.stuck_work import is_stuck
from driftline.operations.watching import NOT_MONITORED, watch_of_each
from driftline.web.pages import queries, verdict
from inference.prediction_log.queries.selectors import newest_arrivals
from inference.registry.models import Model
from monitors.alerts.selectors import open_incidents
from monitors.definitions.models import Monitor, MonitorKind
from monitors.metrics.answers.quality_effect import main_metric
from monitors.metrics.catalogue import ANSWER_COLUMNS, METRICS
from monitors.metrics.limits import JUDGED, RAISED, PointJudge
from monitors.metrics.store.models import MetricPoint
from monitors.rules.models import Rule, Severity
from monitors.rules.selectors import enabled_rules_of

STATUSES = ("critical", "error", "warning", "notice", "not_monitored", "learning", "ok")
"""How models are, the worst first; models without data stand behind all others, whatever they lack."""


@dataclass(frozen=True)
class _Noticed:
    """A window that is worth a notice."""

    span: str
    start: datetime
    reach: int = 3
    """Among how many windows before the newest event it is recent."""

    def is_recent(self, newest: datetime) -> bool:
        return newest - longest(self.span) * self.reach <= self.start < newest


@dataclass(frozen=True)
class ModelHealth:
    """How a model is; `drift_start` and `drift_span` name the newest window in which its drift was judged, and
    `drifted` is how many of its features had drifted in it.

    `has_odd_values` and `beyond`, the titles of metrics of performance beyond their limits, are of recent windows.
    """

    model: Model
    status: str
    newest: datetime | None
    drift_start: datetime | None
    drift_span: str
    drifted: float | None
    has_odd_values: bool = False
    beyond: Sequence[str] = ()

    @property
    def rank(self) -> int:
        """Where it stands among others, the worst first and those without data last."""
        return len(STATUSES) if self.newest is None else STATUSES.index(self.status)


def health_of_models(project: Project, models: QuerySet[Model] | None = None) -> list[ModelHealth]:
    """Return the health of each model, or of these ones, worst first, with the status that its own page shows."""
    models = queries.models_of(project) if models is None else models
    newest, drift, severities = newest_arrivals(models), _newest_drift(models), _worst_severities(project)
    stuck, odd, beyond = _stuck(models), _windows_with_odd_values(models), _windows_beyond_limits(models)
    watches = watch_of_each(models, {pk: arrival[0] for pk, arrival in newest.items()})
    healths = [
        _health_of(
            model,
            newest[model.pk][0],
            drift[model.pk],
            _worst(severities.get(model.pk), is_stuck=model.pk in stuck),
            odd.get(model.pk),
            beyond.get(model.pk),
            watches[model.pk].status,
        )
        for model in models
    ]
    return sorted(healths, key=lambda health: (health.rank, health.model.name))


def verdict_of(models_health: Sequence[ModelHealth]) -> verdict.Statement:
    """Return how many models need somebody, in the words of the worst one's page."""
    worst = {
        next((s.model.pk for s in models_health if s.status in statuses), None)
        for statuses in (verdict.TROUBLED, ("notice",))
    }
    return verdict.of_project(
        [
            (s.model, verdict.of_model(s.model) if s.model.pk in worst else verdict.Statement(s.status))
            for s in models_health
        ]
    )


def worst_drifts(models_health: Sequence[ModelHealth]) -> dict[int, MetricPoint]:
    """Find what decided over each model's feature that had drifted furthest when drift was last judged."""
    windows = [
        Q(model=s.model, start=s.drift_start, span=s.drift_span)
        for s in models_health
        if s.drift_start is not None
    ]
    if not windows:
        return {}
    points = MetricPoint.objects.filter(
        reduce(or_, windows), metric__in=queries.DECIDING_METRICS, detail__decides=True, segment="", role="champion",
        version="", status__in=JUDGED, value__isnull=False, threshold__gt=0,
    ).exclude(feature__in=ANSWER_COLUMNS)  # fmt: skip
    by_decision = Case(When(status__in=RAISED, then=Value(0)), default=Value(1))
    worst_first = points.order_by("model_id", by_decision, (F("value") / F("threshold")).desc(), "feature")
    found = {point.model_id: point for point in worst_first.distinct("model_id")}
    rules = enabled_rules_of(found, {point.metric for point in found.values()})
    for health in models_health:
        if health.model.pk in found:
            judge = PointJudge(health.model, rules.get(health.model.pk, []), looks_back=False)
            judge.judge([found[health.model.pk]])
    return found


def _health_of(
    model: Model,
    newest: datetime | None,
    drift: tuple[str, datetime | None, float | None],
    worst: str | None,
    odd: _Noticed | None,
    beyond: tuple[_Noticed, Sequence[str]] | None,
    watch: str,
) -> ModelHealth:
    span, start, drifted = drift
    if newest is None:
        return ModelHealth(model, NOT_MONITORED, newest, start, span, drifted)
    has_odd_values = odd is not None and odd.is_recent(newest)
    metrics = beyond[1] if beyond and beyond[0].is_recent(newest) else ()
    is_drifted = bool(drifted and start and _Noticed(span, start).is_recent(newest))
    status = worst or ("notice" if is_drifted or has_odd_values or metrics else watch)
    return ModelHealth(model, status, newest, start, span, drifted, has_odd_values, metrics)


def _worst(severity: str | None, *, is_stuck: bool) -> str | None:
    return "error" if is_stuck and severity != "critical" else severity


def _stuck(models: QuerySet[Model]) -> set[int]:
    """List the models of which something cannot be summarised, measured or judged."""
    return set(models.order_by().filter(is_stuck()).values_list("pk", flat=True))


def _span_of(kind: str) -> Coalesce:
    """Read the span of the windows that a monitor of each model judges."""
    monitors = Monitor.objects.filter(model=OuterRef("pk"), kind=kind)
    return Coalesce(Subquery(monitors.values("span")[:1]), Value("day"))


def _windows_with_odd_values(models: QuerySet[Model]) -> dict[int, _Noticed]:
    """Read the newest judged window of each model where it has values of the wrong type, or impossible ones."""
    points = MetricPoint.objects.filter(
        model=OuterRef("pk"), span=OuterRef("odd_span"), metric__in=queries.ODD_VALUES, segment="", role="champion",
        version="", status__in=JUDGED,
    )  # fmt: skip
    start = Subquery(points.order_by("-start").values("start")[:1])
    odd = Exists(points.filter(start=OuterRef("odd_start"), value__gt=0))
    spans = models.order_by().annotate(odd_span=_span_of(MonitorKind.QUALITY))
    with_odd = spans.annotate(odd_start=start).filter(odd)
    return {
        pk: _Noticed(span, begin) for pk, span, begin in with_odd.values_list("pk", "odd_span", "odd_start")
    }


def _windows_beyond_limits(models: QuerySet[Model]) -> dict[int, tuple[_Noticed, list[str]]]:
    """Read the newest window of each model with judged performance, and the titles of its metrics beyond their limits.

    Only what may be beyond one is read of it: what was measured so, and what breaches a rule.
    """
    mains = {model.pk: main_metric(model) for model in models}
    of_performance = {
        *mains.values(),
        *chain(*queries.SHOWN_METRICS.values(), *queries.OTHER_METRICS.values()),
    }
    points = MetricPoint.objects.filter(
        model=OuterRef("pk"), span=OuterRef("judged_span"), metric__in=of_performance, feature="", segment="",
        role="champion", version="", status__in=JUDGED, value__isnull=False,
    ).order_by("-start")  # fmt: skip
    judged = models.order_by().annotate(judged_span=_span_of(MonitorKind.PERFORMANCE), main=_by_model(mains))
    windows = judged.annotate(
        newest=Coalesce(
            Subquery(points.filter(metric=OuterRef("main")).values("start")[:1]),
            Subquery(points.values("start")[:1]),
        )
    )
    raised = points.filter(start=OuterRef("newest")).filter(Q(status__in=RAISED) | Exists(_rules_breached()))
    found = {
        pk: _Noticed(span, start, queries.PERFORMANCE_WINDOWS)
        for pk, span, start in windows.filter(Exists(raised)).values_list("pk", "judged_span", "newest")
    }
    beyond = _beyond_limits([model for model in models if model.pk in found], found)
    return {pk: (found[pk], titles) for pk, titles in beyond.items()}


def _by_model(metrics: Mapping[int, str]) -> Case:
    """Map each model to its metric; the commonest one is the default, which spares naming the many that have it."""
    models_of: dict[str, list[int]] = {}
    for pk, metric in metrics.items():
        models_of.setdefault(metric, []).append(pk)
    commonest = max(models_of, key=lambda metric: len(models_of[metric]), default="")
    others = (
        When(pk__in=pks, then=Value(metric)) for metric, pks in models_of.items() if metric != commonest
    )
    return Case(*others, default=Value(commonest))


def _rules_breached() -> QuerySet[Rule]:
    """Select the rules over the metric of a point of a model's performance that its value breaches."""
    value = OuterRef("value")
    return Rule.objects.filter(
        Q(operator=Rule.Operator.ABOVE, threshold__lt=value) | Q(operator=Rule.Operator.BELOW, threshold__gt=value),
        model=OuterRef("model_id"), metric=OuterRef("metric"), feature="", segment="", enabled=True,
    )  # fmt: skip


def _beyond_limits(models: Sequence[Model], windows: Mapping[int, _Noticed]) -> dict[int, list[str]]:
    """Name the metrics of performance beyond the limit that speaks, in a window of each model that has some."""
    points = MetricPoint.objects.filter(
        model__in=models, metric__in={one for model in models for one in queries.performance_metrics(model)},
        span__in={one.span for one in windows.values()}, start__in={one.start for one in windows.values()},
        feature="", segment="", role="champion", version="", status__in=JUDGED, value__isnull=False,
    )  # fmt: skip
    of_model: dict[int, list[MetricPoint]] = {model.pk: [] for model in models}
    for point in points:
        window = windows[point.model_id]
        if (point.span, point.start) == (window.span, window.start):
            of_model[point.model_id].append(point)
    rules = enabled_rules_of(of_model, {point.metric for point in points})
    beyond: dict[int, list[str]] = {}
    for model in models:
        judge = PointJudge(model, rules.get(model.pk, []), looks_back=False)
        raised = {point.metric for point in judge.judge(of_model[model.pk]) if point.status in RAISED}
        if titles := [METRICS[one].title for one in queries.performance_metrics(model) if one in raised]:
            beyond[model.pk] = titles
    return beyond


def _worst_severities(project: Project) -> dict[int, str]:
    worst: dict[int, str] = {}
    for model_id, severity in open_incidents(project=project).values_list("model_id", "severity"):
        known = worst.get(model_id, Severity.NOTICE)
        worst[model_id] = max(known, severity, key=Severity.values.index)
    return worst


def _newest_drift(models: QuerySet[Model]) -> dict[int, tuple[str, datetime | None, float | None]]:
    """Read of each model in which window its drift was last judged, and how many of its features had drifted."""
    judged = MetricPoint.objects.filter(
        model=OuterRef("pk"), span=OuterRef("drift_span"), metric="drifted_features", feature="", segment="",
        role="champion", version="", status__in=JUDGED,
    ).order_by("-start")  # fmt: skip
    spans = models.order_by().annotate(drift_span=_span_of(MonitorKind.DRIFT))
    with_drift = spans.annotate(
        drift=Subquery(judged.values(json=JSONObject(start="start", value="value"))[:1])
    )
    return {
        pk: (span, datetime.fromisoformat(drift["start"]), drift["value"]) if drift else (span, None, None)
        for pk, span, drift in with_drift.values_list("pk", "drift_span", "drift")
    }
