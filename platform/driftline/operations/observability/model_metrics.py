"""/metrics/models for Prometheus: the newest judged values of models with their limits, and their open incidents.

It has a path of its own, so that the scrape of what serving does stays small. Values are those of the newest closed
window, judged as pages and the API judge them. What is of features is bounded (`MAX_FEATURE_POINTS`): each model has
the same share, of which the worst are shown, and a metric counts the others.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from math import isfinite

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from driftline.base.accounts.access.http_auth import Caller
from driftline.base.clock import now
from driftline.base.http.problems import with_problems
from driftline.base.periods import end_of
from driftline.operations.observability.scrapers import scraper_of
from inference.registry.models import Model
from monitors.alerts.models import Incident
from monitors.metrics.catalogue import METRICS
from monitors.metrics.limits import NOT_SIGNIFICANT, PointJudge, status_by_reference
from monitors.metrics.store.models import MetricPoint, PointStatus
from monitors.metrics.store.newest import NewestPoint, NewestPoints, WatchedSegment, newest_points
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
    """Return values of models to a scraper on this machine, or to a token with scope `read` those of its project."""
    page = "".join(_write_page(scraper_of(request), now=now()))
    return HttpResponse(page, content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _write_page(caller: Caller | None, *, now: datetime) -> Iterator[str]:
    models = Model.objects.filter(archived_at=None).select_related("project", "deployment__champion")
    models = models.only("name", "task", "project__slug", "deployment__champion__version")
    if caller is not None:
        models = models.filter(project=caller.project)
    chosen = {model.pk: model for model in models.order_by("project__slug", "name")}
    rules = rules_by_model(chosen)
    newest = _read_points(chosen, rules, now)
    names = {pk: _labels(project=model.project.slug, model=model.name) for pk, model in chosen.items()}
    yield _family("driftline_model_info", _infos(chosen.values()))
    yield from _points(names, newest, rules, chosen)
    yield from _windows(names, newest.points)
    yield _family("driftline_model_incidents_open", _incidents(names))
    omitted = (f"{{{names[pk]}}} {newest.omitted.get(pk, 0)}" for pk in names)
    yield _family("driftline_model_feature_points_omitted", omitted)
    yield _family("driftline_metric_info", _metric_infos({point.metric for point in newest.points}))


def _read_points(models: Mapping[int, Model], rules: Mapping[int, list[Rule]], now: datetime) -> NewestPoints:
    ruled = [(pk, rule) for pk, some in rules.items() for rule in some]
    share = MAX_FEATURE_POINTS // max(len(models), 1)
    return newest_points(
        models,
        first_metrics=sorted({rule.metric for _, rule in ruled if rule.feature}),
        segments=[
            WatchedSegment(pk, rule.judged_span, rule.metric, rule.segment)
            for pk, rule in ruled
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
    values: list[str] = []
    limits: list[str] = []
    statuses: list[str] = []
    judge = _Judge(models, rules)
    labels_of = cache(_point_labels)  # models have the same metrics, and often the same features
    for point in newest.points:
        model_id, _, span, _, segment, metric, feature, value, *_ = point
        labels = f"{{{names[model_id]},{labels_of(metric, span, feature, segment)}}}"
        limit, status = judge.limit_and_status(point)
        if value is not None:
            values.append(f"{labels} {_number(value)}")
        if limit is not None:
            limits.append(f"{labels} {_number(limit)}")
        level = LEVELS.get(status, NOT_JUDGED)
        if level or limit is not None:  # of what nobody judges, such as a count, "ok" would say nothing
            statuses.append(f"{labels} {level}")
    for name, samples in (("value", values), ("limit", limits), ("status", statuses)):
        yield _family(f"driftline_model_metric_{name}", samples)


def _point_labels(metric: str, span: str, feature: str, segment: str) -> str:
    """Write what a point is of; the general way is too slow for tens of thousands."""
    labels = f'metric="{metric}",span="{span}"'
    if feature:
        labels += f',feature="{_escape(feature)}"'
    if segment:
        labels += f',segment="{_escape(segment)}"'
    return labels


class _Judge:
    """Judges points by the rules of their models, as pages and the API do.

    It fills one row again and again: to make an object of each point would take longer than to judge it.
    """

    def __init__(self, models: Mapping[int, Model], rules: Mapping[int, list[Rule]]) -> None:
        self._models = models
        self._rules = rules
        self._ruled = {(pk, rule.metric) for pk, some in rules.items() for rule in some}
        self._row = MetricPoint(role="champion", version="")

    def limit_and_status(self, point: NewestPoint) -> tuple[float | None, str]:
        """Return the limit that speaks of a point, None where there is none, and the point's status by it."""
        if (point.model_id, point.metric) not in self._ruled:
            return point.threshold, status_by_reference(point)
        row = self._row
        row.model_id, row.measure, row.span, row.start = (
            point.model_id,
            point.measure,
            point.span,
            point.start,
        )
        row.metric, row.feature, row.segment = point.metric, point.feature, point.segment
        row.value, row.n, row.lower, row.upper = point.value, point.n, point.lower, point.upper
        row.threshold, row.status = point.threshold, point.status
        PointJudge(self._models[point.model_id], self._rules[point.model_id], looks_back=False).judge([row])
        return row.threshold, row.status


def _windows(names: Mapping[int, str], points: Iterable[NewestPoint]) -> Iterator[str]:
    newest: dict[tuple[int, str, str], tuple[datetime, int]] = {}
    for point in points:
        if not point.segment:
            key = point.model_id, point.measure, point.span
            seen = newest.get(key)
            if seen is None or seen < (point.start, point.n):
                newest[key] = point.start, point.n
    rows, ends = [], []
    for (model_id, measure, span), (start, n) in newest.items():
        labels = f'{{{names[model_id]},measure="{measure}",span="{span}"}}'
        rows.append(f"{labels} {n}")
        ends.append(f"{labels} {end_of(start, span).timestamp():.0f}")
    yield _family("driftline_model_window_rows", rows)
    yield _family("driftline_model_window_end_timestamp_seconds", ends)


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
def _family(name: str, samples: Iterable[str]) -> str:
    """Write a metric: a sample is its labels in braces and its value."""
    text = f"\n{name}".join(["", *samples])
    return f"# HELP {name} {FAMILIES[name][0]}\n# TYPE {name} gauge{text}\n"


def _labels(**labels: str) -> str:
    """Write labels as they stand between the braces, those that are empty left out."""
    return ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items() if value)


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if isfinite(value):
        return repr(value)
    return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
