"""P1: which model needs me?"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.accounts.models import Project
from driftline.common.clock import now
from driftline.given_up import given_up
from driftline.models import Heartbeat
from driftline.pages import queries
from driftline.pages.access import PageRequest, page
from driftline.pages.context import demo_progress
from driftline.pages.model_health import ModelHealth, health_of_models, verdict_of, worst_drifts
from driftline.progress import progress_of_each
from inference.registry.models import Model
from monitors.alerts.selectors import open_incidents
from monitors.metrics.models import MetricPoint

INCIDENTS_SHOWN = 5
MODELS_SHOWN = 50
WORKS_SHOWN = 10
SPARK_DAYS = 30


@dataclass(frozen=True)
class ModelRow:
    """One line of the table of models."""

    model: Model
    status: str
    newest: datetime | None
    counts: list[float | None]
    rows: float | None
    p95: float | None
    worst_drift: MetricPoint | None
    quality: MetricPoint | None
    coverage: float | None
    changed_at: datetime | None


@page("GET")
def overview(request: PageRequest) -> HttpResponse:
    project = request.visitor.project
    models_health = health_of_models(project)
    if not models_health:
        return redirect("start")
    context = {
        "verdict": verdict_of(models_health),
        "rows": _rows(project, models_health[:MODELS_SHOWN]),
        "models": len(models_health),
        "incidents": open_incidents(project=project)[:INCIDENTS_SHOWN],
        "works": _works(models_health[:WORKS_SHOWN]),
        "given_up": len(given_up(project)),
    }
    return render(request, "pages/overview.html", context)


@page("GET")
def models(request: PageRequest) -> HttpResponse:
    project = request.visitor.project
    models_health = health_of_models(project)
    shown = Paginator(models_health, MODELS_SHOWN).get_page(request.GET.get("page"))
    context = {"rows": _rows(project, list(shown)), "shown": shown, "verdict": verdict_of(models_health)}
    return render(request, "pages/models.html", context)


@page("GET")
def demo(request: PageRequest) -> HttpResponse:
    """The demo's banner alone, which polls itself."""
    return render(request, "partials/demo.html", {"demo": demo_progress()})


def _rows(project: Project, models_health: list[ModelHealth]) -> list[ModelRow]:
    changed, drifts, points = (
        queries.last_promotions(project),
        worst_drifts(models_health),
        _points(models_health),
    )
    return [
        _row(health, points.get(health.model.pk, {}), drifts.get(health.model.pk), changed)
        for health in models_health
    ]


def _points(models_health: list[ModelHealth]) -> dict[int, dict[str, list[MetricPoint]]]:
    """Read the series of these models' lines, oldest first."""
    ends = {health.model.pk: health.newest or now() for health in models_health}
    metrics = {
        "count",
        "latency_p95",
        "label_coverage",
        *(queries.main_metric(s.model) for s in models_health),
    }
    found = MetricPoint.objects.filter(
        model__in=list(ends), span="day", metric__in=metrics, feature="", segment="", role="champion", version="",
        start__gte=min(ends.values(), default=now()) - timedelta(days=SPARK_DAYS),
    )  # fmt: skip
    by_model: dict[int, list[MetricPoint]] = {}
    for point in found.order_by("start"):
        end = ends[point.model_id]
        if end - timedelta(days=SPARK_DAYS) <= point.start < end:
            by_model.setdefault(point.model_id, []).append(point)
    return {pk: queries.by_metric(points) for pk, points in by_model.items()}


def _row(
    health: ModelHealth,
    points: dict[str, list[MetricPoint]],
    drift: MetricPoint | None,
    changed: dict[int, datetime],
) -> ModelRow:
    model = health.model
    counts, latency = points.get("count", []), points.get("latency_p95", [])
    quality = queries.newest_judged(points.get(queries.main_metric(model), []))
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
        p95=latency[-1].value if latency else None,
        worst_drift=drift,
        quality=quality,
        coverage=coverage,
        changed_at=changed.get(model.pk),
    )


def _works(models_health: list[ModelHealth]) -> list[dict[str, Any]]:
    """How far the workers are with the first models that have data, and whether the ticks are consumed."""
    models = [health.model for health in models_health if health.newest]
    progress = progress_of_each(models)
    lines = [{"name": model.name, "until": progress[model.pk].computed_until} for model in models]
    beat = Heartbeat.objects.filter(name="worker").first()
    return [{"beat": beat.at if beat else None}, *lines]
