"""P1: which model needs me?"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.common.clock import now
from driftline.models import Heartbeat
from driftline.pages import queries, verdict
from driftline.pages.access import PageRequest, page
from driftline.pages.context import demo_progress
from driftline.progress import computed_until
from inference.prediction_log.selectors import newest_event
from inference.registry.models import Model
from monitors.alerts.selectors import open_incidents
from monitors.metrics.models import MetricPoint

INCIDENTS_SHOWN = 5
SPARK_DAYS = 30
_ORDER = {"critical": 0, "warning": 1, "notice": 2, "no_data": 3, "ok": 4}


@dataclass(frozen=True)
class ModelRow:
    """One line of the table of models."""

    model: Model
    verdict: verdict.Verdict
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
    rows = _rows(request)
    if not rows:
        return redirect("start")
    project = request.visitor.project
    context = {
        "verdict": verdict.of_project([(row.model, row.verdict) for row in rows]),
        "rows": rows,
        "incidents": open_incidents(project=project)[:INCIDENTS_SHOWN],
        "works": _works(rows),
    }
    return render(request, "pages/overview.html", context)


@page("GET")
def models(request: PageRequest) -> HttpResponse:
    rows = _rows(request)
    summary = verdict.of_project([(row.model, row.verdict) for row in rows])
    return render(request, "pages/models.html", {"rows": rows, "verdict": summary})


@page("GET")
def demo(request: PageRequest) -> HttpResponse:
    """The demo's banner alone, which polls itself."""
    return render(request, "partials/demo.html", {"demo": demo_progress()})


def _rows(request: PageRequest) -> list[ModelRow]:
    changed = queries.last_promotions(request.visitor.project)
    rows = [_row(model, changed.get(model.pk)) for model in queries.models_of(request.visitor.project)]
    return sorted(rows, key=lambda row: (_ORDER[row.verdict.status], row.model.name))


def _row(model: Model, changed_at: datetime | None) -> ModelRow:
    newest = newest_event(model)
    end = newest or now()
    main = queries.main_metric(model)
    metrics = ["count", "latency_p95", "label_coverage", main, "psi"]
    points = queries.by_metric(queries.points_in(model, metrics, end - timedelta(days=SPARK_DAYS), end))
    counts = points.get("count", [])
    latency = points.get("latency_p95", [])
    quality = queries.newest_judged(points.get(main, []))
    coverage = next(
        (p.value for p in reversed(points.get("label_coverage", [])) if quality and p.start == quality.start),
        None,
    )
    return ModelRow(
        model=model,
        verdict=verdict.of_model(model),
        newest=newest,
        counts=[point.value for point in counts],
        rows=counts[-1].value if counts else None,
        p95=latency[-1].value if latency else None,
        worst_drift=worst_drift(points.get("psi", [])),
        quality=quality,
        coverage=coverage,
        changed_at=changed_at,
    )


def worst_drift(points: list[MetricPoint]) -> MetricPoint | None:
    """Of the newest judged day, the feature that stands furthest beyond its own limit."""
    judged = [p for p in points if p.status in queries.JUDGED and p.feature not in queries.NOT_FEATURES]
    if not judged:
        return None
    newest = max(point.start for point in judged)
    return max((p for p in judged if p.start == newest), key=lambda p: (p.value or 0) / (p.threshold or 1))


def _works(rows: list[ModelRow]) -> list[dict[str, Any]]:
    """How far the workers are, a line a model with data, and whether the ticks are consumed."""
    lines = [
        {"name": row.model.name, "until": computed_until(row.model), "newest": row.newest}
        for row in rows
        if row.newest
    ]
    beat = Heartbeat.objects.filter(name="worker").first()
    return [{"beat": beat.at if beat else None}, *lines]
