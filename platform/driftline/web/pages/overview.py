"""The first page of a project: what needs somebody now, and how many models are how."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.accounts.models import Project
from driftline.operations.given_up import given_up
from driftline.operations.models import Heartbeat
from driftline.operations.progress import progress_of_each
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model_health import STATUSES, ModelHealth, health_of_models, verdict_of
from driftline.web.pages.verdict import TROUBLED
from monitors.alerts.models import Incident
from monitors.alerts.selectors import open_incidents, worst_first

INCIDENTS_SHOWN = 5
ATTENTION_SHOWN = 10
WORKS_SHOWN = 10


@dataclass(frozen=True)
class Attention:
    """A model that needs somebody, or changed: its worst open incident, else what its own page names."""

    health: ModelHealth
    incident: Incident | None
    drifted: int
    since: datetime | None


@page("GET")
def overview(request: PageRequest) -> HttpResponse:
    project = request.visitor.project
    models_health = health_of_models(project)
    if not models_health:
        return redirect("start")
    open_ones = worst_first(open_incidents(project=project))
    needing = [health for health in models_health if health.status in (*TROUBLED, "notice")]
    counts = Counter(health.status for health in models_health)
    context = {
        "verdict": verdict_of(models_health),
        "counts": [(status, counts[status]) for status in STATUSES if counts[status]],
        "models": len(models_health),
        "attention": _attention(project, needing[:ATTENTION_SHOWN]),
        "needing": len(needing),
        "incidents": open_ones[:INCIDENTS_SHOWN],
        "works": _works(models_health[:WORKS_SHOWN]),
        "given_up": len(given_up(project)),
    }
    return render(request, "pages/overview.html", context)


def _attention(project: Project, needing: Sequence[ModelHealth]) -> list[Attention]:
    """Return what is wrong with each of these models, by one query."""
    worst: dict[int, Incident] = {}
    of_these = open_incidents(project=project).filter(model__in=[health.model.pk for health in needing])
    for incident in worst_first(of_these):
        worst.setdefault(incident.model_id, incident)
    return [_need(health, worst.get(health.model.pk)) for health in needing]


def _need(health: ModelHealth, incident: Incident | None) -> Attention:
    since = incident.since if incident else health.drift_start if health.drifted else None
    return Attention(health, incident, round(health.drifted or 0), since)


def _works(models_health: Sequence[ModelHealth]) -> list[dict[str, Any]]:
    """How far the workers are with the first models that have data, and whether the ticks are consumed."""
    models = [health.model for health in models_health if health.newest]
    progress = progress_of_each(models)
    lines = [{"name": model.name, "until": progress[model.pk].computed_until} for model in models]
    beat = Heartbeat.objects.filter(name="worker").first()
    return [{"beat": beat.at if beat else None}, *lines]
