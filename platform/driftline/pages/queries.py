"""What pages read, beyond the stages' own selectors: metric points of a range, and summaries of a column."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet

from driftline.accounts.models import Project
from driftline.common.periods import Period, floor
from driftline.pages.charts import Dot, Mark
from inference.prediction_log.queries.selectors import oldest_event
from inference.registry.models import DeploymentChange, Model, Version
from monitors.alerts.models import Incident
from monitors.definitions.models import Reference
from monitors.metrics.catalogue import QUALITY_METRICS
from monitors.metrics.change_points import sentence_of
from monitors.metrics.models import MetricPoint
from monitors.metrics.references.loaded import LoadedReference, reference_in_use
from monitors.metrics.selectors import change_points
from monitors.rules.models import Rule, Severity
from monitors.rules.services import points_of
from monitors.stats.mergeable.outcomes import OutcomeSummary, merge_outcomes
from monitors.stats.mergeable.sketches import NumericSummary, merge_numbers
from monitors.stats.mergeable.window_summary import ColumnSummary, WindowSummary, merge_columns
from monitors.summaries.models import Summary
from monitors.summaries.stored import SHORTER
from monitors.workflows.models import ACTIVE_STATES, Run

DAY = timedelta(days=1)
NOT_FEATURES = ("prediction", "score")
JUDGED = ("ok", "warning", "critical")
RAISED = Q(status__in=("warning", "critical"))
MAIN_METRIC = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "mae", "ranking": "ndcg"}


# -- models ------------------------------------------------------------------------------------------------------------
def models_of(project: Project) -> QuerySet[Model]:
    """List a project's models with their champions, but for what is wide in these."""
    models = Model.objects.of_project(project).select_related("deployment__champion").order_by("name")
    return models.defer(
        *(f"deployment__champion__{name}" for name in ("signature", "intake_report", "lineage"))
    )


def main_metric(model: Model) -> str:
    """The quality metric that the model is judged by: its objective's, else its task's."""
    quality = model.objectives.get("quality")
    return (quality or {}).get("metric") or MAIN_METRIC.get(model.task, "accuracy")


def unresolved(model: Model) -> list[Incident]:
    """List what is open now, the worst and oldest first."""
    found = Incident.objects.filter(model=model).exclude(status=Incident.Status.RESOLVED)
    order = {"critical": 0, "warning": 1, "notice": 2}
    rows = found.select_related("rule", "opened_by", "model").order_by("opened_at")
    return sorted(rows, key=lambda incident: order[incident.severity])


def active_run(model: Model) -> Run | None:
    return Run.objects.filter(model=model, state__in=ACTIVE_STATES).select_related("challenger").first()


def newest_reference(model: Model) -> Reference | None:
    """The newest reference in whatever state, for pages that say how its building goes."""
    return model.references.select_related("version", "dataset").order_by("-pk").first()


def reference_on(model: Model, day: datetime) -> LoadedReference | None:
    """What the champion's rows of a day are compared with."""
    return reference_in_use(
        model=model, version_id=model.deployment.champion_id, window=Period(day, day + DAY)
    )


# -- points ------------------------------------------------------------------------------------------------------------
def points_in(
    model: Model,
    metrics: Iterable[str],
    start: datetime,
    end: datetime,
    *,
    span: str = "day",
    feature: str | None = None,
    role: str = "champion",
    version: str = "",
    segment: str = "",
) -> QuerySet[MetricPoint]:
    """Select the points of several metrics, oldest first."""
    found = MetricPoint.objects.filter(
        model=model, span=span, metric__in=list(metrics), role=role, version=version, segment=segment,
        start__gte=start, start__lt=end,
    )  # fmt: skip
    if feature is not None:
        found = found.filter(feature=feature)
    return found.order_by("start", "feature")


def dots(points: Iterable[MetricPoint]) -> list[Dot]:
    """Turn points into what charts draw."""
    return [
        Dot(
            point.start, point.end, point.value, point.n, point.lower, point.upper, point.threshold, point.status,
            point.revision,
        )
        for point in points
    ]  # fmt: skip


def by_metric(points: Iterable[MetricPoint]) -> dict[str, list[MetricPoint]]:
    grouped: dict[str, list[MetricPoint]] = {}
    for point in points:
        grouped.setdefault(point.metric, []).append(point)
    return grouped


def newest_judged(points: Sequence[MetricPoint]) -> MetricPoint | None:
    """The newest point that may be judged: ripe, and with enough rows."""
    return next(
        (point for point in reversed(points) if point.status in JUDGED and point.value is not None), None
    )


def drift_lately(model: Model, newest: datetime) -> list[MetricPoint]:
    """List the features' PSI on the newest judged day, what stands furthest beyond its limit first."""
    points = points_in(model, ["psi"], newest - DAY * 3, newest).filter(
        status__in=JUDGED, value__isnull=False
    )
    judged = [point for point in points if point.feature not in NOT_FEATURES]
    day = max((point.start for point in judged), default=None)
    return furthest_first(point for point in judged if point.start == day)


def wrong_types_lately(model: Model, newest: datetime) -> list[MetricPoint]:
    """List the features with values of the wrong type on the newest judged day, those with the most first."""
    points = points_in(model, ["wrong_type_share"], newest - DAY * 3, newest).filter(status__in=JUDGED)
    judged = list(points)
    day = max((point.start for point in judged), default=None)
    found = [point for point in judged if point.start == day and point.value]
    return sorted(found, key=lambda point: -(point.value or 0))


def furthest_first(points: Iterable[MetricPoint]) -> list[MetricPoint]:
    """Sort points by how many times its own limit each value is."""
    return sorted(points, key=lambda point: -(point.value or 0) / (point.threshold or 1))


def _judged_features(model: Model, start: datetime, end: datetime) -> QuerySet[MetricPoint]:
    return points_in(model, ["psi"], start, end).filter(status__in=JUDGED).exclude(feature__in=NOT_FEATURES)


def drifted_by_day(model: Model, start: datetime, end: datetime) -> dict[datetime, tuple[int, int]]:
    """Count the features that drifted, and those that were judged, on each day of a range, oldest first.

    They are counted where their points are stored: these are thousands.
    """
    days = (
        _judged_features(model, start, end)
        .order_by("start")
        .values("start")
        .annotate(drifted=Count("pk", filter=RAISED), judged=Count("pk"))
    )
    return {day["start"]: (day["drifted"], day["judged"]) for day in days}


def drift_on(model: Model, day: datetime) -> list[MetricPoint]:
    """List the judged features of a day, what stands furthest beyond its limit first."""
    return furthest_first(_judged_features(model, day, day + DAY).defer("detail"))


def courses(
    model: Model, metric: str, features: Sequence[str], start: datetime, end: datetime
) -> dict[str, list[float | None]]:
    """Read the judged values of each of some features, oldest first."""
    judged = points_in(model, [metric], start, end).filter(status__in=JUDGED, feature__in=features)
    values: dict[str, list[float | None]] = {feature: [] for feature in features}
    for feature, value in judged.values_list("feature", "value"):
        values[feature].append(value)
    return values


def newest_of(incident: Incident) -> MetricPoint | None:
    """The newest point that an incident's rule judges; of a rule over all features the one that opened it."""
    points = points_of(incident.rule)
    if incident.rule.feature == "*":
        points = points.filter(feature=incident.opened_by.detail.get("feature", ""))
    judged = points.filter(status__in=JUDGED, value__isnull=False, n__gte=incident.rule.min_rows)
    return judged.order_by("-start").first()


def judged_points(
    model: Model, metrics: Iterable[str], start: datetime, end: datetime, *, span: str = "day"
) -> dict[str, list[MetricPoint]]:
    """Read the points of several metrics; where people made a rule, its limit and severity judge instead of ours.

    Else a page would call a value fine for which the same page has an incident open.
    """
    points = by_metric(points_in(model, metrics, start, end, span=span))
    found = Rule.objects.filter(model=model, enabled=True, span=span, feature="", segment="").order_by("pk")
    rules = sorted(found, key=lambda rule: Severity.values.index(rule.severity))
    for metric, series in points.items():
        for point in series:
            _judge(point, [rule for rule in rules if rule.metric == metric])
    return points


def _judge(point: MetricPoint, rules: Sequence[Rule]) -> None:
    """Let the most severe of the breached rules judge a point, else the last; `rules` come the least severe first."""
    if point.status not in JUDGED or point.value is None:
        return
    was_breached = False
    for rule in rules:
        is_breached = rule.is_breached_by(point.value)
        if point.n < rule.min_rows or (was_breached and not is_breached):
            continue
        was_breached = is_breached
        point.threshold = rule.threshold
        point.status = ("critical" if rule.severity == "critical" else "warning") if is_breached else "ok"


@dataclass(frozen=True)
class QualityFaults:
    """Faults of data quality: how many each judged day has, oldest first, and those of the newest one."""

    by_day: dict[datetime, int]
    newest: list[MetricPoint]


def faults_in(model: Model, start: datetime, end: datetime) -> QualityFaults:
    """Count the faults of a range's days where they are stored: their points are thousands."""
    judged = points_in(model, QUALITY_METRICS, start, end).filter(status__in=JUDGED)
    by_day = dict(judged.order_by("start").values_list("start").annotate(faults=Count("pk", filter=RAISED)))
    return QualityFaults(by_day, list(judged.filter(RAISED, start=max(by_day))) if by_day else [])


def beyond_since(points: Sequence[MetricPoint]) -> datetime | None:
    """Tell since when a series has been beyond its limit without a break; None where its newest judged point is not."""
    since = None
    for point in reversed([point for point in points if point.status in JUDGED]):
        if point.status == "ok":
            break
        since = point.start
    return since


def segment_points(model: Model, metric: str, start: datetime, end: datetime) -> list[MetricPoint]:
    """The newest judged point of every segment."""
    found = MetricPoint.objects.filter(
        model=model, span="day", metric=metric, role="champion", version="", start__gte=start, start__lt=end,
        status__in=JUDGED, value__isnull=False,
    ).exclude(segment="")  # fmt: skip
    newest: dict[str, MetricPoint] = {}
    for point in found.order_by("start"):
        newest[point.segment] = point
    return list(newest.values())


# -- summaries ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class DayOfColumn:
    """One column on one day."""

    start: datetime
    column: ColumnSummary


def column_by_day(model: Model, name: str, start: datetime, end: datetime) -> list[DayOfColumn]:
    """Read one feature (or `prediction`, `score`) of each day, of all champion versions together."""
    days: dict[datetime, list[ColumnSummary]] = {}
    for day, summary in _day_summaries(model, start, end, features=[name]):
        column = column_of(summary, name)
        if column is not None:
            days.setdefault(day, []).append(column)
    return [DayOfColumn(day, merge_columns(parts)) for day, parts in sorted(days.items())]


def column_of(summary: WindowSummary, name: str) -> ColumnSummary | None:
    if name == "prediction":
        return summary.prediction
    return summary.score if name == "score" else summary.features.get(name)


def latency_by_day(model: Model, start: datetime, end: datetime) -> list[tuple[datetime, NumericSummary]]:
    """Read the latencies (ms) of each day, of all champion versions together; days without any are left out."""
    days: dict[datetime, list[NumericSummary]] = {}
    for day, summary in _day_summaries(model, start, end, features=()):
        if summary.latency_ms is not None and summary.latency_ms.n:
            days.setdefault(day, []).append(summary.latency_ms)
    return [(day, merge_numbers(parts)) for day, parts in sorted(days.items())]


@dataclass(frozen=True)
class Outcomes:
    """What labels said about a range: each day, all together, and how late labels came (seconds)."""

    by_day: dict[datetime, OutcomeSummary]
    rows: int
    labelled: int
    lag_p50: float | None
    lag_p95: float | None

    @property
    def total(self) -> OutcomeSummary | None:
        return merge_outcomes(list(self.by_day.values())) if self.by_day else None


def outcomes_in(model: Model, start: datetime, end: datetime) -> Outcomes:
    """Read labelled outcomes and label lags, without unpacking features."""
    days: dict[datetime, list[OutcomeSummary]] = {}
    rows = labelled = 0
    lags = []
    for day, summary in _day_summaries(model, start, end, features=()):
        rows, labelled = rows + summary.rows, labelled + summary.labelled
        if summary.outcome is not None:
            days.setdefault(day, []).append(summary.outcome)
        if summary.label_lag_s is not None and summary.label_lag_s.n:
            lags.append(summary.label_lag_s)
    lag = merge_numbers(lags) if lags else None
    return Outcomes(
        {day: merge_outcomes(parts) for day, parts in sorted(days.items())},
        rows,
        labelled,
        lag.quantile(0.5) if lag else None,
        lag.quantile(0.95) if lag else None,
    )


def _day_summaries(
    model: Model, start: datetime, end: datetime, *, features: Sequence[str]
) -> Iterable[tuple[datetime, WindowSummary]]:
    stored = Summary.objects.filter(
        model=model,
        role="champion",
        span__in=SHORTER,
        segment="",
        start__gte=floor(start, "day"),
        start__lt=end,
    ).order_by("start")  # a month that is kept without its days counts on its first
    for day, payload in stored.values_list("start", "payload"):
        yield day, WindowSummary.decode(bytes(payload), features=features)


# -- what changed ------------------------------------------------------------------------------------------------------
def marks_in(model: Model, start: datetime, end: datetime) -> list[Mark]:
    """List deployments, incidents and changes of the error on the axis of event time, oldest first."""
    marks = [
        *_deployments(model, start, end),
        *_incidents(model, start, end),
        *_error_changes(model, start, end),
    ]
    return sorted(marks, key=lambda mark: mark.at)


def _deployments(model: Model, start: datetime, end: datetime) -> Iterable[Mark]:
    oldest = oldest_event(model)
    for change in DeploymentChange.objects.filter(model=model).order_by("generation"):
        at = time_of(change, oldest)
        if start <= at < end:
            yield _deployment(change, at)


def time_of(change: DeploymentChange, oldest: datetime | None) -> datetime:
    """Tell when a change was in event time; `oldest` is the model's first event.

    A first version comes before every event; the clock of that moment says nothing on an axis of event time.
    """
    if change.kind == "first" and oldest is not None:
        return min(change.event_time, oldest)
    return change.event_time


def _deployment(change: DeploymentChange, at: datetime) -> Mark:
    champion, shadows = change.after.get("champion"), change.after.get("shadows") or []
    reason = f": {change.reason}" if change.reason else ""
    if change.kind == "shadows":
        sentence = f"Version {', '.join(shadows)} shadows" if shadows else "No version shadows"
        return Mark(at, "", f"{sentence}, by {change.actor}{reason}", "shadow")
    if change.kind == "canary":
        canary = change.after.get("canary")
        sentence = (
            f"Version {canary['version']} answers {canary['weight']:.1%} as canary"
            if canary
            else "The canary ended"
        )
        return Mark(at, "", f"{sentence}, by {change.actor}{reason}", "shadow")
    return Mark(at, f"v{champion}", f"Version {champion} answers ({change.kind}), by {change.actor}{reason}")


def _incidents(model: Model, start: datetime, end: datetime) -> Iterable[Mark]:
    for incident in Incident.objects.filter(model=model, opened_at__gte=start, opened_at__lt=end):
        url = f"/incidents/{incident.pk}"
        yield Mark(incident.opened_at, "", f"INC-{incident.pk} opened: {incident.title}", "incident", url)


def _error_changes(model: Model, start: datetime, end: datetime) -> Iterable[Mark]:
    for change in change_points(model=model, start=start, end=end):
        yield Mark(change.at, "", f"{sentence_of(change)}.", "change")


def firing_spans(
    model: Model, metric: str, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """The periods in which an incident about this metric was open."""
    found = Incident.objects.filter(model=model, rule__metric=metric, opened_at__lt=end).exclude(
        resolved_at__lt=start
    )
    return [(began(one), one.resolved_at or end) for one in found.select_related("rule", "opened_by")]


def began(incident: Incident) -> datetime:
    """The start of the first of the windows in a row that opened an incident."""
    window = timedelta(hours=1) if incident.rule.span == "hour" else DAY
    return incident.opened_by.window_start - (incident.rule.for_windows - 1) * window


def last_promotions(project: Project) -> dict[int, datetime]:
    """When each model's champion last changed, in event time."""
    kinds = ("first", "promote", "rollback")
    found = DeploymentChange.objects.filter(model__project=project, kind__in=kinds)
    return dict(found.order_by("generation").values_list("model_id", "event_time"))


def versions_with_stage(model: Model, versions: Iterable[Version]) -> list[dict[str, Any]]:
    """Give each of the model's versions that is shown with the part that it plays."""
    deployment = model.deployment
    shadows = set(deployment.shadows.values_list("pk", flat=True))
    return [{"version": version, "stage": _stage(version, deployment, shadows)} for version in versions]


def _stage(version: Version, deployment: Any, shadows: set[int]) -> str:
    if version.pk == deployment.champion_id:
        return "champion"
    if version.pk == deployment.canary_id:
        return "canary"
    if version.pk in shadows:
        return "shadow"
    return "previous" if version.pk == deployment.previous_id else "archived"
