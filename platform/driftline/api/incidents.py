"""Incidents over HTTP. They are the roof's: it joins each with the runs that its rule started."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Router

from driftline.accounts.http_auth import Scoped, caller_of
from driftline.accounts.scopes import SCOPE_OF, Scope
from driftline.common.clock import now
from driftline.common.paging import PAGE_SIZE, page
from driftline.common.periods import rfc3339
from driftline.common.request_values import refuse_parameter
from driftline.common.strict_json import printable
from inference.registry.selectors import get_model
from monitors.alerts import selectors, services
from monitors.alerts.api import describe_delivery
from monitors.alerts.models import Incident
from monitors.workflows.models import Run

router = Router(tags=["alerts"])


@router.get("/incidents", auth=Scoped(Scope.READ))
def list_incidents(
    request: HttpRequest,
    status: str | None = None,
    model: str | None = None,
    cursor: str = "",
    limit: int = PAGE_SIZE,
) -> Any:
    """List incidents, the newest in event time first."""
    project = caller_of(request).project
    if status is not None and status not in Incident.Status.values:
        raise refuse_parameter(
            "status", f"status is '{printable(status)}'; use one of {', '.join(Incident.Status.values)}."
        )
    if model is not None:
        get_model(project=project, name=model)
    found = selectors.incidents(project=project, status=status, model=model)
    return page(found, describe_incident, by=("-opened_at", "-pk"), cursor=cursor, limit=limit)


@router.get("/incidents/{int:incident_id}", auth=Scoped(Scope.READ))
def read_incident(request: HttpRequest, incident_id: int) -> Any:
    """Read one incident with its causes, timeline, deliveries and runs."""
    found = selectors.incident_detail(project=caller_of(request).project, incident_id=incident_id)
    timeline = [
        {
            "at": rfc3339(event.at),
            "event_time": rfc3339(event.event_time) if event.event_time else None,
            "kind": event.kind,
            "text": event.text,
            "actor": event.actor or None,
        }
        for event in found.timeline
    ]
    deliveries = [describe_delivery(delivery) for delivery in found.deliveries]
    return describe_incident(found.incident) | {"timeline": timeline, "deliveries": deliveries}


@router.post("/incidents/{int:incident_id}/acknowledge", auth=Scoped(SCOPE_OF["incident"]))
def acknowledge_incident(request: HttpRequest, incident_id: int) -> Any:
    """Note that somebody looks after an incident."""
    caller = caller_of(request)
    incident = selectors.get_incident(project=caller.project, incident_id=incident_id)
    return describe_incident(
        services.acknowledge(incident=incident, actor=caller.actor, user=caller.user, now=now())
    )


@router.post("/incidents/{int:incident_id}/resolve", auth=Scoped(SCOPE_OF["incident"]))
def resolve_incident(request: HttpRequest, incident_id: int) -> Any:
    """Close an incident by hand; it opens anew when its rule still fires at the end of the cooldown."""
    caller = caller_of(request)
    incident = selectors.get_incident(project=caller.project, incident_id=incident_id)
    return describe_incident(services.resolve(incident=incident, actor=caller.actor, now=now()))


def describe_incident(incident: Incident) -> dict[str, Any]:
    """Write an incident as the API gives it."""
    return {
        "id": incident.pk,
        "title": incident.title,
        "status": incident.status,
        "severity": incident.severity,
        "model": incident.model.name,
        "rule": {"id": incident.rule_id, "name": incident.rule.name},
        "opened_at": rfc3339(incident.opened_at),
        "resolved_at": rfc3339(incident.resolved_at) if incident.resolved_at else None,
        "acknowledged_at": rfc3339(incident.acknowledged_at) if incident.acknowledged_at else None,
        "acknowledged_by": str(incident.acknowledged_by) if incident.acknowledged_by else None,
        "causes": incident.causes,
        "runs": [{"id": run.pk, "state": run.state, "trigger": run.trigger} for run in runs_of(incident)],
    }


def runs_of(incident: Incident) -> QuerySet[Run]:
    """Select the runs that this episode of the incident's rule started, oldest first."""
    runs = Run.objects.filter(
        transition__rule_id=incident.rule_id, transition__window_end__gte=incident.opened_at
    )
    if incident.resolved_at is not None:
        runs = runs.filter(transition__window_end__lte=incident.resolved_at)
    return runs.order_by("pk")
