"""The page of all models: found by text, status, task, owner and tag, sorted, and changed many at once."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.periods import longest
from driftline.web.pages import chart_marks, queries
from driftline.web.pages.access import PageRequest, Visitor, page
from driftline.web.pages.models.model_health import (
    STATUSES,
    ModelHealth,
    health_of_models,
    verdict_of,
    worst_drifts,
)
from inference.prediction_log.queries.event_clock import event_nows
from inference.registry.models import Model, ModelTask
from inference.registry.services import archive_model, change_tags, update_model
from monitors.definitions.models import Monitor, MonitorKind
from monitors.metrics.answers.quality_effect import main_metric
from monitors.metrics.store.models import MetricPoint
from monitors.rules.defaults import add_default_rules

MODELS_SHOWN = 50
MAX_CHANGED_AT_ONCE = 1_000
MAX_GIVEN_RULES_AT_ONCE = 200
MAX_CHOICES = 200
SPARK_WINDOWS = 30
FILTERS = ("search", "status", "task", "owner", "tag")
_LONG_AGO = datetime.min.replace(tzinfo=UTC)
SORTS: dict[str, Callable[[ModelHealth], Any]] = {
    "status": lambda health: health.rank,
    "name": lambda health: health.model.name.lower(),
    "owner": lambda health: (not health.model.owner, health.model.owner.lower()),
    "task": lambda health: health.model.task,
    "drift": lambda health: -(health.drifted or 0),
    "newest": lambda health: -(health.newest or _LONG_AGO).timestamp(),
}
"""What the list can be sorted by; the first is the usual one, and names break ties."""
COLUMNS = (
    ("name", "Model", ""),
    ("status", "Status", ""),
    ("owner", "Owner", ""),
    ("", "Predictions a day", "number"),
    ("", "p95", "number"),
    ("drift", "Most drifted", ""),
    ("", "Quality", "number"),
    ("newest", "Newest event", ""),
    ("", "Champion since (server time)", ""),
)


@dataclass(frozen=True)
class ModelRow:
    """One line of the table of models."""

    model: Model
    status: str
    newest: datetime | None
    counts: list[float | None]
    rows: float | None
    has_day_ended: bool
    p95: MetricPoint | None
    worst_drift: MetricPoint | None
    quality: MetricPoint | None
    coverage: float | None
    changed_at: datetime | None


@dataclass(frozen=True)
class Column:
    """The head of a column; with an address it sorts by it, `order` is how it is sorted now."""

    title: str
    look: str
    url: str
    order: str


@page("GET", "POST", writes="model")
def models(request: PageRequest) -> HttpResponse:
    if request.method == "POST":
        return _change(request)
    project, given = request.visitor.project, _given(request.GET)
    of_status = _found(project, given | {"status": ""})
    found = [health for health in of_status if given["status"] in ("", health.status)]
    counts = Counter(health.status for health in of_status)
    sort, is_reversed = _sort_of(request.GET.get("sort", ""))
    found.sort(key=lambda health: (SORTS[sort](health), health.model.name), reverse=is_reversed)
    shown = Paginator(found, MODELS_SHOWN).get_page(request.GET.get("page"))
    filters = {name: value for name, value in given.items() if value}
    by = filters | ({"sort": request.GET["sort"]} if request.GET.get("sort") else {})
    context = {
        "rows": rows_of(project, list(shown)),
        "shown": shown,
        "verdict": verdict_of(of_status) if not filters else None,
        "given": given,
        "is_filtered": bool(filters),
        "query": urlencode(by),
        "columns": [
            _column(*column, sort=sort, is_reversed=is_reversed, filters=filters) for column in COLUMNS
        ],
        "tasks": ModelTask.choices,
        "archived": project.models.exclude(archived_at=None).order_by("name")[:MODELS_SHOWN],
        "statuses": [(status, counts[status]) for status in STATUSES if counts[status]],
    }
    return render(request, "pages/models/models.html", context | _choices(project))


def _given(sent: QueryDict) -> dict[str, str]:
    return {name: sent.get(name, "").replace("\x00", "").strip()[:200] for name in FILTERS}


def _found(project: Project, given: dict[str, str]) -> list[ModelHealth]:
    """Find the models that all filters leave, the worst first."""
    by_row = {name: value for name, value in given.items() if name != "status"}
    found = health_of_models(project, queries.models_of(project).matching(**by_row))
    return [health for health in found if given["status"] in ("", health.status)]


def _sort_of(text: str) -> tuple[str, bool]:
    name = text.removeprefix("-")
    return (name, text.startswith("-")) if name in SORTS else (next(iter(SORTS)), False)


def _column(
    name: str, title: str, look: str, *, sort: str, is_reversed: bool, filters: dict[str, str]
) -> Column:
    if not name:
        return Column(title, look, "", "")
    is_sorted = name == sort
    following = f"-{name}" if is_sorted and not is_reversed else name
    order = ("descending" if is_reversed else "ascending") if is_sorted else ""
    return Column(title, look, "?" + urlencode(filters | {"sort": following}), order)


def _choices(project: Project) -> dict[str, list[str]]:
    """List the owners and tags that a filter can name."""
    rows = Model.objects.of_project(project)
    owners = rows.exclude(owner="").order_by("owner").values_list("owner", flat=True).distinct()[:MAX_CHOICES]
    tags = sorted({tag for tags in rows.exclude(tags=[]).values_list("tags", flat=True) for tag in tags})
    return {"owners": list(owners), "tags": tags[:MAX_CHOICES]}


# -- changing many -----------------------------------------------------------------------------------------------------
def _change(request: PageRequest) -> HttpResponse:
    """Do to the chosen models what was chosen, and say how many changed; then show the same list again."""
    try:
        chosen = _chosen(request)
        change = _CHANGES.get(request.POST.get("do", ""))
        if change is None:
            raise Problem(422, "no_action", "Choose what to do with the chosen models.")
        said = change(request.visitor, chosen, request.POST.get("value", "").strip())
    except Problem as problem:
        messages.error(request, problem.detail)
    else:
        messages.success(request, said)
    return HttpResponseRedirect(request.get_full_path())


def _chosen(request: PageRequest) -> list[Model]:
    """Read which models were ticked, or all that the filters leave; their number is bounded."""
    project = request.visitor.project
    if request.POST.get("all"):
        chosen = [health.model for health in _found(project, _given(request.GET))]
    else:
        keys = [int(key) for key in request.POST.getlist("model") if key.isdecimal() and len(key) < 19]
        chosen = list(queries.models_of(project).filter(pk__in=keys))
    if not chosen:
        raise Problem(422, "none_chosen", "Choose some models first: tick them, or all that are found.")
    return _bounded(chosen, MAX_CHANGED_AT_ONCE)


def _bounded(chosen: list[Model], most: int) -> list[Model]:
    if len(chosen) > most:
        detail = f"{len(chosen):,} models are chosen; narrow the list down to {most:,} at a time."
        raise Problem(422, "too_many_chosen", detail)
    return chosen


def _add_rules(visitor: Visitor, chosen: list[Model], value: str) -> str:
    visitor.check_rights({"": "rule"})
    added = [
        len(add_default_rules(project=visitor.project, model=model, actor=visitor.actor))
        for model in _bounded(chosen, MAX_GIVEN_RULES_AT_ONCE)
    ]
    changed = sum(many > 0 for many in added)
    there = f"; {_counted(len(chosen) - changed)} had them" if changed < len(chosen) else ""
    return f"{sum(added):,} default rules added to {_counted(changed)}{there}."


def _add_tags(visitor: Visitor, chosen: list[Model], value: str) -> str:
    changed = change_tags(models=chosen, add=_tags_in(value), actor=visitor.actor)
    return f"{_counted(changed)} tagged {value}."


def _remove_tags(visitor: Visitor, chosen: list[Model], value: str) -> str:
    changed = change_tags(models=chosen, remove=_tags_in(value), actor=visitor.actor)
    return f"The tag {value} was taken from {_counted(changed)}."


def _tags_in(value: str) -> list[str]:
    tags = value.replace(",", " ").split()
    if not tags:
        raise Problem(422, "no_tag", "Write the tag, such as fraud or team:payments.")
    return tags


def _set_owner(visitor: Visitor, chosen: list[Model], value: str) -> str:
    if len(value) > Model._meta.get_field("owner").max_length:  # type: ignore[operator]
        raise Problem(422, "owner_too_long", "An owner has up to 200 characters.")
    for model in chosen:
        if model.owner != value:
            update_model(model=model, actor=visitor.actor, owner=value)
    return (
        f"{_counted(len(chosen))} belong to {value}." if value else f"{_counted(len(chosen))} have no owner."
    )


def _archive(visitor: Visitor, chosen: list[Model], value: str) -> str:
    visitor.check_rights({"": "model.archived"})
    for model in chosen:
        archive_model(model=model, is_archived=True, actor=visitor.actor)
    return f"{_counted(len(chosen))} archived; the page Settings of each brings it back."


def _counted(many: int) -> str:
    return f"{many:,} model{'' if many == 1 else 's'}"


_CHANGES: dict[str, Callable[[Visitor, list[Model], str], str]] = {
    "rules": _add_rules,
    "tag": _add_tags,
    "untag": _remove_tags,
    "owner": _set_owner,
    "archive": _archive,
}


# -- rows --------------------------------------------------------------------------------------------------------------
def rows_of(project: Project, models_health: Sequence[ModelHealth]) -> list[ModelRow]:
    """Read what the table shows of these models, by as many queries for all as for one."""
    changed, drifts = chart_marks.last_promotions(project), worst_drifts(models_health)
    points = _points(models_health)
    shown = Model.objects.filter(pk__in=[health.model.pk for health in models_health])
    clocks = event_nows(models=shown, now=now())
    return [
        _row(health, points.get(health.model.pk, {}), drifts.get(health.model.pk), changed, clocks)
        for health in models_health
    ]


def _points(models_health: Sequence[ModelHealth]) -> dict[int, dict[str, list[MetricPoint]]]:
    """Read the series of these models' lines, oldest first."""
    ends = {health.model.pk: health.newest or now() for health in models_health}
    by_labels = {"label_coverage", *(main_metric(s.model) for s in models_health)}
    judged = Monitor.objects.filter(model__in=list(ends), kind=MonitorKind.PERFORMANCE)
    spans = dict(judged.values_list("model_id", "span"))
    which = _newest_windows(ends, "day") & Q(metric__in=("count", "latency_p95"))
    for span in set(spans.values()):
        judged_by = {pk: ends[pk] for pk, judged in spans.items() if judged == span}
        which |= _newest_windows(judged_by, span) & Q(metric__in=by_labels)
    points = MetricPoint.objects.filter(which, feature="", segment="", role="champion", version="")
    by_model: dict[int, list[MetricPoint]] = {}
    for point in points.order_by("start"):
        end, span = ends[point.model_id], spans.get(point.model_id, "day")
        is_shown = point.span == (span if point.metric in by_labels else "day")
        if is_shown and end - SPARK_WINDOWS * longest(point.span) <= point.start < end:
            by_model.setdefault(point.model_id, []).append(point)
    return {pk: queries.by_metric(series) for pk, series in by_model.items()}


def _newest_windows(ends: Mapping[int, datetime], span: str) -> Q:
    """Select the newest windows of a span of some models, by the newest event of each."""
    since = min(ends.values(), default=now()) - SPARK_WINDOWS * longest(span)
    return Q(model__in=list(ends), span=span, start__gte=since)


def _row(
    health: ModelHealth,
    points: dict[str, list[MetricPoint]],
    drift: MetricPoint | None,
    changed: Mapping[int, datetime],
    clocks: Mapping[int, datetime],
) -> ModelRow:
    model = health.model
    counts, latency = points.get("count", []), points.get("latency_p95", [])
    quality = queries.newest_judged(points.get(main_metric(model), []))
    coverage = next(
        (p.value for p in reversed(points.get("label_coverage", [])) if quality and p.start == quality.start),
        None,
    )
    return ModelRow(
        model=model,
        status=health.status,
        newest=health.newest,
        counts=[point.value for point in counts],
        rows=counts[-1].value if counts else None,
        has_day_ended=not counts or counts[-1].end <= clocks[model.pk],
        p95=queries.newest_judged(latency),
        worst_drift=drift,
        quality=quality,
        coverage=coverage,
        changed_at=changed.get(model.pk),
    )
