"""What happened to models, in the shape of Grafana's annotations: incidents, deployments, runs, and people's notes."""

from collections.abc import Iterator
from datetime import UTC, datetime

from django.db.models import Q
from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query

from driftline.api.schemas import GrafanaAnnotationOut
from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import Scope
from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.http.request_values import moment, refuse_parameter
from driftline.base.periods import Period
from inference.registry.models import DeploymentChange, Model
from inference.registry.selectors import get_model
from monitors.alerts.models import Incident
from monitors.annotations.models import Annotation
from monitors.registry_events import describe_change
from monitors.workflows.models import ACTIVE_STATES, Run

router = Router(tags=["monitoring"])

MAX_ANNOTATIONS = 1_000
MAX_MS = 253_402_300_799_000  # the last second of the year 9999


@router.get("/grafana/annotations", auth=Scoped(Scope.READ), response=list[GrafanaAnnotationOut])
def list_grafana_annotations(
    request: HttpRequest,
    start: str = Query("-7d", alias="from", max_length=40),
    end: str = Query("now", alias="to", max_length=40),
    model: str = Query("", max_length=100, description="a model's name; empty: all of the project"),
) -> list[GrafanaAnnotationOut]:
    """List what happened between two moments of event time, for Grafana: incidents, deployments, runs and notes.

    `from` and `to` are milliseconds since 1970, as Grafana's `${__from}`, or RFC 3339. The newest 1,000 are given, the
    oldest first.
    """
    project = caller_of(request).project
    period = Period(_moment("from", start), _moment("to", end))
    if period.start >= period.end:
        raise refuse_parameter("from", "'from' must lie before 'to'.")
    chosen = [get_model(project=project, name=model)] if model else list(project.models.all())
    found = [
        *_incidents(project, chosen, period),
        *_deployments(project, chosen, period),
        *_runs(project, chosen, period),
        *_notes(chosen, period),
    ]
    return sorted(found, key=lambda one: one.time)[-MAX_ANNOTATIONS:]


def _moment(name: str, text: str) -> datetime:
    """Read milliseconds since 1970, or what every other route takes."""
    if not (text.isascii() and text.isdecimal()):
        return moment(name, text, now=now())
    if int(text) > MAX_MS:
        raise refuse_parameter(name, f"{name} is {text}; use milliseconds since 1970.")
    return datetime.fromtimestamp(int(text) / 1000, UTC)


def _incidents(project: Project, models: list[Model], period: Period) -> Iterator[GrafanaAnnotationOut]:
    touching = Q(resolved_at=None) | Q(resolved_at__gt=period.start)
    incidents = Incident.objects.filter(touching, model__in=models, opened_at__lt=period.end)
    for one in incidents.select_related("model").order_by("-opened_at")[:MAX_ANNOTATIONS]:
        yield GrafanaAnnotationOut.of(
            one.since,
            one.resolved_at or period.end,
            title=f"INC-{one.pk}: {one.title}",
            text=f"{one.status}, {project.url}/incidents/{one.pk}",
            tags=["incident", one.severity, one.model.name],
        )


def _deployments(project: Project, models: list[Model], period: Period) -> Iterator[GrafanaAnnotationOut]:
    changes = DeploymentChange.objects.filter(
        model__in=models, event_time__gte=period.start, event_time__lt=period.end
    )
    for one in changes.select_related("model").order_by("-event_time")[:MAX_ANNOTATIONS]:
        yield GrafanaAnnotationOut.of(
            one.event_time,
            title=f"{one.model.name}: {describe_change(one)}",
            text=f"by {one.actor}{f': {one.reason}' if one.reason else ''}, {project.url}/models/{one.model.name}/",
            tags=["deployment", one.kind, one.model.name],
        )


def _runs(project: Project, models: list[Model], period: Period) -> Iterator[GrafanaAnnotationOut]:
    runs = Run.objects.filter(model__in=models, data_until__gte=period.start, data_until__lt=period.end)
    for one in runs.select_related("model").order_by("-data_until")[:MAX_ANNOTATIONS]:
        word = one.state if one.state not in ACTIVE_STATES else "under way"
        yield GrafanaAnnotationOut.of(
            one.data_until,
            title=f"{one.model.name}: run {one.pk} {word}",
            text=f"{one.trigger}, {project.url}/models/{one.model.name}/runs/{one.pk}",
            tags=["run", one.state, one.model.name],
        )


def _notes(models: list[Model], period: Period) -> Iterator[GrafanaAnnotationOut]:
    notes = Annotation.objects.within(period.start, period.end).filter(model__in=models)
    for one in notes.select_related("model").order_by("-start")[:MAX_ANNOTATIONS]:
        yield GrafanaAnnotationOut.of(
            one.start,
            one.end,
            title=f"{one.model.name}: {one.text}",
            text=f"noted by {one.created_by} {one.link}".strip(),
            tags=["note", one.model.name],
        )
