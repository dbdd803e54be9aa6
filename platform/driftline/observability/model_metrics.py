"""/metrics/models for Prometheus: the newest judged values of models with their limits, and their open incidents.

It has a path of its own, so that the scrape of what serving does stays small. Values are those of the newest closed
window, judged as pages and the API judge them. What is of features is bounded (`MAX_FEATURE_POINTS`): each model has
the same share, of which the worst are shown, and a metric counts the others.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from math import isfinite

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from driftline.accounts.http_auth import Caller
from driftline.api.problems import with_problems
from driftline.common.clock import now
from driftline.common.periods import end_of
from driftline.observability.scrapers import scraper_of
from inference.registry.models import Model
from monitors.alerts.models import Incident
from monitors.metrics.catalogue import METRICS
from monitors.metrics.limits import NOT_SIGNIFICANT, PointJudge, status_by_reference
from monitors.metrics.models import MetricPoint, PointStatus
from monitors.metrics.newest import NewestPoint, NewestPoints, WatchedSegment, newest_points
from monitors.rules.models import Rule, Severity
from monitors.rules.selectors import rules_by_model

MAX_FEATURE_POINTS = 20_000
"""Points of features on one page."""
MAX_MODEL_FEATURE_POINTS, MIN_MODEL_FEATURE_POINTS = 500, 5
LEVELS = {
    PointStatus.OK: 0,
    NOT_SIGNIFICANT: 0,
    Severity.NOTICE: 1,
    Severity.WARNING: 2,
    Severity.CRITICAL: 3,
    PointStatus.ERROR: -2,
}
"""Statuses as numbers; what is not in here could not be judged."""
NOT_JUDGED = -1

_POINT = ("project", "model", "metric", "span", "feature", "segment")
_WINDOW = ("project", "model", "measure", "span")
FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "driftline_model_info": (
        "1 for each model, with its task and the champion's version.",
        ("project", "model", "task", "version"),
    ),
    "driftline_model_metric_value": (
        "A metric's value in the newest closed window that could be judged; driftline_metric_info has its unit.",
        _POINT,
    ),
    "driftline_model_metric_limit": (
        "The limit that the value is judged by: a rule's, else the calibrated one.",
        _POINT,
    ),
    "driftline_model_metric_status": (
        "How a value with a limit stands to it: 0 ok, 1 notice, 2 warning, 3 critical, -1 not judged, -2 error.",
        _POINT,
    ),
    "driftline_model_window_rows": ("Rows of the newest closed window of a measure.", _WINDOW),
    "driftline_model_window_end_timestamp_seconds": (
        "When the newest closed window of a measure ended, in event time.",
        _WINDOW,
    ),
    "driftline_model_incidents_open": ("Unresolved incidents of a model.", ("project", "model", "severity")),
    "driftline_model_feature_points_omitted": (
        "Points of features that are not on this page, as there are too many; the worst are.",
        ("project", "model"),
    ),
    "driftline_metric_info": (
        "1 for each metric that is on this page, with its unit, and whether a larger value is worse.",
        ("metric", "unit", "lower_is_better"),
    ),
}
"""Help and labels of each metric. A label of a point without a feature or segment is left out, which means the same."""


def describe() -> list[Metric]:
    """List the metrics without values."""
    return [GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in FAMILIES.items()]


@with_problems
@require_safe
def model_metrics(request: HttpRequest) -> HttpResponse:
    """Give the values of models to a scraper on this machine, or to a token with scope `read` those of its project."""
    page = "\n".join(_write_page(scraper_of(request), now=now()))
    return HttpResponse(f"{page}\n", content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _write_page(caller: Caller | None, *, now: datetime) -> Iterator[str]:
    models = Model.objects.filter(archived_at=None).select_related("project", "deployment__champion")
    models = models.only("name", "task", "project__slug", "deployment__champion__version")
    if caller is not None:
        models = models.filter(project=caller.project)
    chosen = {model.pk: model for model in models.order_by("project__slug", "name")}
    rules = rules_by_model(chosen)
    newest = _read_points(chosen, rules, now)
    names = {pk: _labels(project=model.project.slug, model=model.name) for pk, model in chosen.items()}
    yield from _family("driftline_model_info", _infos(chosen.values()))
    yield from _points(names, newest, rules, chosen)
    yield from _windows(names, newest.points)
    yield from _family("driftline_model_incidents_open", _incidents(names))
    omitted = (f"{{{names[pk]}}} {newest.omitted.get(pk, 0)}" for pk in names)
    yield from _family("driftline_model_feature_points_omitted", omitted)
    yield from _family("driftline_metric_info", _metric_infos({point.metric for point in newest.points}))


def _read_points(models: Mapping[int, Model], rules: Mapping[int, list[Rule]], now: datetime) -> NewestPoints:
    ruled = [rule for some in rules.values() for rule in some]
    share = MAX_FEATURE_POINTS // max(len(models), 1)
    return newest_points(
        models,
        first_metrics=sorted({rule.metric for rule in ruled if rule.feature}),
        segments=[
            WatchedSegment(rule.model_id, rule.judged_span, rule.metric, rule.segment)
            for rule in ruled
            if rule.segment
        ],
        max_of_features=min(max(share, MIN_MODEL_FEATURE_POINTS), MAX_MODEL_FEATURE_POINTS),
        now=now,
    )


# -- what is said ------------------------------------------------------------------------------------------------------
def _infos(models: Iterable[Model]) -> Iterator[str]:
    for model in models:
        champion = model.deployment.champion
        labels = _labels(
            project=model.project.slug,
            model=model.name,
            task=model.task,
            version=champion.version if champion else "",
        )
        yield f"{{{labels}}} 1"


def _points(
    names: Mapping[int, str],
    newest: NewestPoints,
    rules: Mapping[int, list[Rule]],
    models: Mapping[int, Model],
) -> Iterator[str]:
    """Write three metrics of the points at once, as all of them have the same labels."""
    values, limits, statuses = [], [], []
    ruled = {(pk, rule.metric) for pk, some in rules.items() for rule in some}
    for point in newest.points:
        labels = f"{{{names[point.model_id]},{_labels_of(point)}}}"
        limit, status = point.threshold, ""
        if (point.model_id, point.metric) in ruled:
            judged = _judge(point, models[point.model_id], rules[point.model_id])
            limit, status = judged.threshold, judged.status
        else:
            status = status_by_reference(point)
        if point.value is not None:
            values.append(f"{labels} {_number(point.value)}")
        if limit is not None:
            limits.append(f"{labels} {_number(limit)}")
        level = LEVELS.get(status, NOT_JUDGED)
        if level or limit is not None:  # of what nobody judges, such as a count, "ok" would say nothing
            statuses.append(f"{labels} {level}")
    for name, samples in (("value", values), ("limit", limits), ("status", statuses)):
        yield from _family(f"driftline_model_metric_{name}", samples)


def _labels_of(point: NewestPoint) -> str:
    """Write what a point is of; the general way is too slow for tens of thousands."""
    labels = f'metric="{point.metric}",span="{point.span}"'
    if point.feature:
        labels += f',feature="{_escape(point.feature)}"'
    if point.segment:
        labels += f',segment="{_escape(point.segment)}"'
    return labels


def _judge(point: NewestPoint, model: Model, rules: list[Rule]) -> MetricPoint:
    """Judge a point by the rules of its model, as pages and the API do."""
    stored = MetricPoint(
        model_id=point.model_id,
        measure=point.measure,
        role="champion",
        version="",
        span=point.span,
        start=point.start,
        metric=point.metric,
        feature=point.feature,
        segment=point.segment,
        value=point.value,
        n=point.n,
        lower=point.lower,
        upper=point.upper,
        threshold=point.threshold,
        status=point.status,
    )
    return PointJudge(model, rules, looks_back=False).judge([stored])[0]


def _windows(names: Mapping[int, str], points: Iterable[NewestPoint]) -> Iterator[str]:
    newest: dict[tuple[int, str, str], tuple[datetime, int]] = {}
    for point in points:
        if not point.segment:
            key = point.model_id, point.measure, point.span
            newest[key] = max(newest.get(key, (point.start, 0)), (point.start, point.n))
    rows, ends = [], []
    for (model_id, measure, span), (start, n) in newest.items():
        labels = f"{{{names[model_id]},{_labels(measure=measure, span=span)}}}"
        rows.append(f"{labels} {n}")
        ends.append(f"{labels} {end_of(start, span).timestamp():.0f}")
    yield from _family("driftline_model_window_rows", rows)
    yield from _family("driftline_model_window_end_timestamp_seconds", ends)


def _incidents(names: Mapping[int, str]) -> Iterator[str]:
    """Count the open incidents of each model by severity: also where there is none, so that a rule sees the 0."""
    unresolved = Incident.objects.filter(model__in=names).exclude(status=Incident.Status.RESOLVED)
    counts = Counter(unresolved.values_list("model_id", "severity"))
    for model_id, labels in names.items():
        for severity in Severity.values:
            yield f'{{{labels},severity="{severity}"}} {counts[model_id, severity]}'


def _metric_infos(metrics: Iterable[str]) -> Iterator[str]:
    for name in sorted(metrics):
        metric = METRICS[name]
        is_lower = str(metric.lower_is_better).lower() if metric.direction else ""
        labels = _labels(metric=name, unit=metric.unit, lower_is_better=is_lower)
        yield f"{{{labels}}} 1"


# -- the text format ---------------------------------------------------------------------------------------------------
def _family(name: str, samples: Iterable[str]) -> Iterator[str]:
    """Write a metric: a sample is its labels in braces and its value."""
    yield f"# HELP {name} {FAMILIES[name][0]}"
    yield f"# TYPE {name} gauge"
    for sample in samples:
        yield name + sample


def _labels(**labels: str) -> str:
    """Write labels as they stand between the braces, those that are empty left out."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items() if value)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if isfinite(value):
        return repr(value)
    return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
