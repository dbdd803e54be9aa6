"""What pages read, beyond the stages' own selectors: metric points of a range, and summaries of a column."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, cycle
from statistics import median

from django.db.models import Count, Q, QuerySet

from driftline.base.accounts.models import Project
from driftline.base.periods import Period, floor, longest, named
from driftline.web.charts.svg import SHADOW_LOOKS, ChartLine, Dot
from driftline.web.pages.column_reads import column_in, column_of
from inference.registry.models import Model, ModelQuerySet
from monitors.alerts.models import Incident
from monitors.definitions.models import Monitor, MonitorKind, Reference
from monitors.definitions.monitors import span_of
from monitors.metrics.answers.quality_effect import main_metric
from monitors.metrics.catalogue import ANSWER_COLUMNS, METRICS, QUALITY_METRICS
from monitors.metrics.inputs.fitting import rows_judged
from monitors.metrics.limits import JUDGED, PointJudge, is_drifted
from monitors.metrics.references.loaded import LoadedReference, reference_in_use
from monitors.metrics.references.seasons import in_season
from monitors.metrics.store.models import MetricPoint, PointStatus
from monitors.rules.judging.judge import judged_since
from monitors.stats.drift.in_words import describe_change
from monitors.stats.drift.thresholds import COMBINED
from monitors.workflows.models import ACTIVE_STATES, Run

DAY = timedelta(days=1)
ODD_VALUES = {"wrong_type_share": "values of the wrong type", "impossible_share": "impossible values"}
"""Metrics of which a single value is worth a notice, and what they count."""
DECISION = "decision"
"""What pages call the statistic that decided, whichever it was, where they take the name of a metric."""
DECIDING_METRICS = tuple(dict.fromkeys(["psi", *chain.from_iterable(COMBINED.values())]))
"""The statistics of drift that may decide over a feature."""
PERFORMANCE_WINDOWS = 14
"""How many windows back performance may have been judged to speak for now: labels come late."""
RECENT_WINDOWS = 7  # in which the newest of a segment is looked for
RAISED = Q(status__in=("warning", "critical"))
SHOWN_METRICS = {
    "binary": ("roc_auc", "log_loss", "accuracy"),
    "multiclass": ("accuracy", "log_loss", "f1", "roc_auc"),
    "regression": ("mae", "rmse", "r2"),
    "ranking": ("ndcg", "mean_average_precision", "mrr"),
}
"""The metrics of performance that have a chart, by task, and those that only the table has."""
OTHER_METRICS = {
    "binary": ("precision", "recall", "f1", "average_precision", "brier", "ece"),
    "multiclass": (
        "precision",
        "recall",
        "weighted_precision",
        "weighted_f1",
        "weighted_roc_auc",
        "average_precision",
        "weighted_average_precision",
        "brier",
        "ece",
    ),
    "regression": ("bias", "mape", "median_absolute_error", "pinball_loss"),
    "ranking": ("ndcg_at_10", "hit_rate_at_10"),
}


# -- models ------------------------------------------------------------------------------------------------------------
def models_of(project: Project) -> ModelQuerySet:
    """List a project's models but for the archived ones, with their champions without what is wide in these."""
    models = (
        Model.objects.of_project(project).listed().select_related("deployment__champion").order_by("name")
    )
    return models.defer(
        *(f"deployment__champion__{name}" for name in ("signature", "intake_report", "lineage"))
    )


def performance_metrics(model: Model) -> list[str]:
    """List the metrics of performance that a model is shown by, those with a chart first."""
    return list(dict.fromkeys([*SHOWN_METRICS[model.task], *OTHER_METRICS[model.task], main_metric(model)]))


def unresolved(model: Model) -> list[Incident]:
    """List what is open now, the worst and oldest first."""
    incidents = Incident.objects.filter(model=model).exclude(status=Incident.Status.RESOLVED)
    order = {"critical": 0, "warning": 1, "notice": 2}
    rows = incidents.select_related("lead__rule__model", "lead__model", "model").order_by("opened_at")
    return sorted(rows, key=lambda incident: order[incident.severity])


def active_run(model: Model) -> Run | None:
    return Run.objects.filter(model=model, state__in=ACTIVE_STATES).select_related("challenger").first()


def newest_reference(model: Model) -> Reference | None:
    """The newest reference in whatever state, for pages that say how its building goes."""
    return model.references.select_related("version", "dataset").order_by("-pk").first()


def reference_of(model: Model, window: Period) -> LoadedReference | None:
    """What the champion's rows of a window are compared with."""
    reference = reference_in_use(model=model, version_id=model.deployment.champion_id, window=window)
    return reference and in_season(reference, window)


# -- which windows are judged ------------------------------------------------------------------------------------------
def judged_by(model: Model, kinds: Sequence[str], newest: datetime | None) -> str:
    """Describe by which windows some monitors judge a model, and how many rows one usually has."""
    kinds_by_windows: dict[str, list[str]] = {}
    monitors = model.monitors.filter(kind__in=kinds, enabled=True).order_by("kind")
    for kind, windows in windows_judged(model, list(monitors), newest).items():
        kinds_by_windows.setdefault(windows, []).append(kind)
    if len(kinds_by_windows) == 1:
        return f"Judged {next(iter(kinds_by_windows))}."
    return " ".join(
        f"{' and '.join(kinds).capitalize()} judged {windows}." for windows, kinds in kinds_by_windows.items()
    )


def windows_judged(model: Model, monitors: Sequence[Monitor], newest: datetime | None) -> dict[str, str]:
    """Return by the kind of each monitor which windows it judges, and how many rows one usually has."""
    if newest is None:
        return {}
    rows = rows_judged(model, monitors, until=newest)
    usual = {kind: f"{round(median(n)):,} rows" if n else "none has ended yet" for kind, n in rows.items()}
    return {
        str(monitor.kind): f"by the {named(monitor.span)}: {usual[str(monitor.kind)]}" for monitor in monitors
    }


# -- points ------------------------------------------------------------------------------------------------------------
def first_start(start: datetime, span: str) -> datetime:
    """Return the start of the first window that a range shows: a window longer than a day may have begun before."""
    return start if span in ("hour", "day") else floor(start, span)


def points_in(
    model: Model,
    metrics: Iterable[str],
    start: datetime,
    end: datetime,
    *,
    span: str = "day",
    feature: str | None = None,
    segment: str = "",
) -> QuerySet[MetricPoint]:
    """Select the points of several metrics of all that the champion answers, or of a segment of it, oldest first.

    Of windows longer than a day also those that began before are among them.
    """
    points = MetricPoint.objects.filter(
        model=model, span=span, metric__in=list(metrics), role="champion", version="", segment=segment,
        start__gte=first_start(start, span), start__lt=end,
    )  # fmt: skip
    if feature is not None:
        points = points.filter(feature=feature)
    return points.order_by("start", "feature")


def dots(points: Iterable[MetricPoint]) -> list[Dot]:
    """Turn points into what charts draw."""
    return [
        Dot(
            point.start, point.end, point.value, point.n, point.lower, point.upper, point.threshold, point.status,
            point.revision, point.since,
        )
        for point in points
    ]  # fmt: skip


def shadow_lines(points: Mapping[str, Sequence[MetricPoint]], what: str = "") -> list[ChartLine]:
    """Make a line for each version in the shadow, each with a look of its own."""
    return [
        ChartLine(f"{what}version {version} in the shadow", dots(rows), look)
        for (version, rows), look in zip(sorted(points.items()), cycle(SHADOW_LOOKS), strict=False)
    ]


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


def newest_measured(points: Sequence[MetricPoint]) -> MetricPoint | None:
    """The newest point that was judged, or that has a limit which no value could pass."""
    statuses = (*JUDGED, PointStatus.NOT_INFORMATIVE)
    return next((one for one in reversed(points) if one.status in statuses and one.value is not None), None)


def judged_with(points: Mapping[str, Sequence[MetricPoint]], main: str) -> list[MetricPoint]:
    """List, of points by metric, those of performance that were judged in the newest window of the main metric.

    Where that was judged in none, it is the newest window of any.
    """
    of_performance = {
        metric: series
        for metric, series in points.items()
        if METRICS[metric].kind == MonitorKind.PERFORMANCE and metric != "label_coverage"
    }
    newest = newest_judged(of_performance.get(main, []))
    others = [one for series in of_performance.values() if (one := newest_judged(series)) is not None]
    start = newest.start if newest else max((one.start for one in others), default=None)
    judged = (one for series in of_performance.values() for one in series if one.status in JUDGED)
    return [one for one in judged if one.start == start and one.value is not None]


def drift_lately(model: Model, newest: datetime) -> list[MetricPoint]:
    """List the features' PSI in the newest judged window, what stands furthest beyond its limit first."""
    span = span_of(model, MonitorKind.DRIFT)
    points = points_in(model, ["psi"], newest - longest(span) * 3, newest, span=span).filter(
        status__in=JUDGED, value__isnull=False
    )
    judged = [point for point in points if point.feature not in ANSWER_COLUMNS]
    day = max((point.start for point in judged), default=None)
    return furthest_first(
        PointJudge(model, looks_back=False).judge(point for point in judged if point.start == day)
    )


def decisions_in(
    model: Model, start: datetime, end: datetime, *, feature: str | None = None, segment: str = ""
) -> QuerySet[MetricPoint]:
    """Select of each feature and window the point of the statistic that decided whether the feature drifted.

    Where too few rows came nothing was decided, and the point of the psi says so.
    """
    span = span_of(model, MonitorKind.DRIFT)
    points = points_in(model, DECIDING_METRICS, start, end, span=span, feature=feature, segment=segment)
    return points.filter(Q(detail__decides=True) | Q(metric="psi", status=PointStatus.INSUFFICIENT))


def changes_of(model: Model, feature: str, window: Period) -> list[str]:
    """Return what changed of a feature between its reference and a window, the largest changes first."""
    reference = reference_of(model, window)
    known = column_of(reference.summary, feature) if reference else None
    current = column_in(model, feature, window) if known else None
    return describe_change(known, current) if known and current else []


def odd_values_lately(model: Model, metric: str, newest: datetime) -> list[MetricPoint]:
    """List the features with values of the wrong type, or impossible ones, in the newest judged window; most first."""
    span = span_of(model, MonitorKind.QUALITY)
    since = newest - longest(span) * 3
    judged = list(points_in(model, [metric], since, newest, span=span).filter(status__in=JUDGED))
    day = max((point.start for point in judged), default=None)
    faulty = [point for point in judged if point.start == day and point.value]
    return sorted(faulty, key=lambda point: -(point.value or 0))


def furthest_first(points: Iterable[MetricPoint]) -> list[MetricPoint]:
    """Sort points by how many times its own limit each value is."""
    return sorted(points, key=lambda point: -(point.value or 0) / (point.threshold or 1))


def _judged_features(
    model: Model, start: datetime, end: datetime, segment: str = ""
) -> QuerySet[MetricPoint]:
    span = span_of(model, MonitorKind.DRIFT)
    points = points_in(model, ["psi"], start, end, span=span, segment=segment)
    return points.filter(status__in=JUDGED).exclude(feature__in=ANSWER_COLUMNS)


def drifted_by_window(
    model: Model, start: datetime, end: datetime, segment: str = ""
) -> dict[datetime, tuple[int, int]]:
    """Count the features that drifted, and those that were judged, in each window of a range, oldest first.

    They are counted where their points are stored: these are thousands.
    """
    windows = (
        _judged_features(model, start, end, segment)
        .order_by("start")
        .values("start")
        .annotate(drifted=Count("pk", filter=RAISED), judged=Count("pk"))
    )
    return {one["start"]: (one["drifted"], one["judged"]) for one in windows}


@dataclass(frozen=True)
class SegmentDrift:
    """How many of the judged features of a segment drifted in its newest judged window of a range."""

    segment: str
    start: datetime
    drifted: int
    judged: int


def drift_by_segment(model: Model, start: datetime, end: datetime) -> list[SegmentDrift]:
    """List the segments that were judged at the end of a range, those of which most features drifted first."""
    span = span_of(model, MonitorKind.DRIFT)
    since = max(first_start(start, span), end - longest(span) * RECENT_WINDOWS)
    counts = (
        MetricPoint.objects.filter(
            model=model, span=span, metric="psi", role="champion", version="", status__in=JUDGED,
            start__gte=since, start__lt=end,
        )
        .exclude(segment="")
        .exclude(feature__in=ANSWER_COLUMNS)
        .order_by("segment", "-start")
        .values_list("segment", "start")
        .annotate(drifted=Count("pk", filter=RAISED), judged=Count("pk"))
    )  # fmt: skip
    newest: dict[str, SegmentDrift] = {}
    for one in counts:
        newest.setdefault(one[0], SegmentDrift(*one))
    return sorted(newest.values(), key=lambda one: (-one.drifted / one.judged, one.segment))


def drift_on(model: Model, start: datetime) -> list[MetricPoint]:
    """List what decided over each feature in the window that starts there, the furthest beyond its limit first."""
    stored = decisions_in(model, start, start + DAY).filter(start=start, status__in=JUDGED)
    judged = PointJudge(model, looks_back=False).judge(stored.exclude(feature__in=ANSWER_COLUMNS))
    return sorted(furthest_first(judged), key=lambda point: not is_drifted(point))


def courses(
    model: Model, features: Sequence[str], start: datetime, end: datetime
) -> dict[str, list[float | None]]:
    """Read how many times its limit was what decided over each of some features, oldest first."""
    judged = decisions_in(model, start, end).filter(status__in=JUDGED, feature__in=features)
    values: dict[str, list[float | None]] = {feature: [] for feature in features}
    for feature, value, threshold in judged.values_list("feature", "value", "threshold"):
        values[feature].append(value / threshold if value is not None and threshold else None)
    return values


def newest_of(incident: Incident) -> MetricPoint | None:
    """The newest point that the rule of an incident's title judges; of one over all features of what opened it."""
    opening = incident.opening
    return next(judged_since(opening.since, opening), None)


def judged_points(
    model: Model, metrics: Iterable[str], start: datetime, end: datetime, *, span: str = "day"
) -> dict[str, list[MetricPoint]]:
    """Read the points of several metrics with the limits, statuses and onsets that `PointJudge` gives them."""
    return by_metric(PointJudge(model).judge(points_in(model, metrics, start, end, span=span)))


@dataclass(frozen=True)
class QualityFaults:
    """Faults of data quality: how many each judged window has, oldest first, and those of the newest one."""

    by_window: dict[datetime, int]
    newest: list[MetricPoint]


def faults_in(model: Model, start: datetime, end: datetime) -> QualityFaults:
    """Count the faults of a range's windows where they are stored: their points are thousands."""
    span = span_of(model, MonitorKind.QUALITY)
    judged = points_in(model, QUALITY_METRICS, start, end, span=span).filter(status__in=JUDGED)
    counts = judged.order_by("start").values_list("start").annotate(faults=Count("pk", filter=RAISED))
    by_window = dict(counts)
    newest = list(judged.filter(RAISED, start=max(by_window))) if by_window else []
    return QualityFaults(by_window, newest)


def segment_points(model: Model, metric: str, start: datetime, end: datetime) -> list[MetricPoint]:
    """The newest judged point of every segment."""
    span = span_of(model, METRICS[metric].kind)
    points = MetricPoint.objects.filter(
        model=model, span=span, metric=metric, role="champion", version="",
        start__gte=first_start(start, span), start__lt=end,
        status__in=JUDGED, value__isnull=False,
    ).exclude(segment="")  # fmt: skip
    newest: dict[str, MetricPoint] = {}
    for point in PointJudge(model, looks_back=False).judge(points.order_by("start")):
        newest[point.segment] = point
    return list(newest.values())


# -- summaries ---------------------------------------------------------------------------------------------------------


# -- what changed ------------------------------------------------------------------------------------------------------
