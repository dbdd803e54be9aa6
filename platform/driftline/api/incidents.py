"""Incidents over HTTP, each with the runs that its rule started: alerts and workflows do not know each other."""

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.api.schemas import IncidentDetailOut, IncidentEventOut, IncidentOut
from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.http.bodies import Body, Moment
from driftline.base.http.paging import PAGE_SIZE, cut_page
from driftline.base.http.request_values import refuse_parameter
from driftline.base.http.responses import Page
from driftline.base.strict_json import printable
from inference.registry.selectors import get_model
from monitors.alerts import selectors, services
from monitors.alerts.incidents import acting
from monitors.alerts.incidents.way_back import change_since
from monitors.alerts.models import Incident
from monitors.alerts.schemas import DeliveryOut
from monitors.incident_runs import runs_of_each
from monitors.rules.models import Severity

router = Router(tags=["alerts"])


@router.get("/incidents", auth=Scoped(Scope.READ), response=Page[IncidentOut])
def list_incidents(
    request: HttpRequest,
    status: str | None = None,
    model: str | None = None,
    severity: str | None = None,
    assignee: str | None = None,
    cursor: str = "",
    limit: int = PAGE_SIZE,
) -> Page[IncidentOut]:
    """List incidents, the newest in event time first; `assignee` is the e-mail address of a member."""
    project = caller_of(request).project
    for name, value, choices in (
        ("status", status, Incident.Status.values),
        ("severity", severity, Severity.values),
    ):
        if value is not None and value not in choices:
            raise refuse_parameter(name, f"{name} is '{printable(value)}'; use one of {', '.join(choices)}.")
    if model is not None:
        get_model(project=project, name=model)
    member = acting.member_of(project, assignee) if assignee is not None else None
    found = selectors.incidents(
        project=project, status=status, model=model, severity=severity, assignee=member
    )
    shown, following = cut_page(found, by=("-opened_at", "-pk"), cursor=cursor, limit=limit)
    runs = runs_of_each(shown)
    return Page(items=[IncidentOut.of(incident, runs[incident.pk]) for incident in shown], next=following)


@router.get("/incidents/{int:incident_id}", auth=Scoped(Scope.READ), response=IncidentDetailOut)
def read_incident(request: HttpRequest, incident_id: int) -> IncidentDetailOut:
    """Read one incident with its causes, timeline, deliveries and runs."""
    found = selectors.incident_detail(project=caller_of(request).project, incident_id=incident_id)
    incident = found.incident
    change = change_since(incident)
    return IncidentDetailOut.of(
        incident,
        runs_of_each([incident])[incident.pk],
        change_since=change.sentence if change else None,
        timeline=[IncidentEventOut.of(event) for event in found.timeline],
        deliveries=[DeliveryOut.of(delivery) for delivery in found.deliveries],
    )


@router.post(
    "/incidents/{int:incident_id}/acknowledge", auth=Scoped(SCOPE_OF["incident"]), response=IncidentOut
)
def acknowledge_incident(request: HttpRequest, incident_id: int) -> IncidentOut:
    """Note that somebody looks after an incident."""
    caller = caller_of(request)
    incident = selectors.get_incident(project=caller.project, incident_id=incident_id)
    return _describe(services.acknowledge(incident=incident, actor=caller.actor, user=caller.user, now=now()))


@router.post("/incidents/{int:incident_id}/resolve", auth=Scoped(SCOPE_OF["incident"]), response=IncidentOut)
def resolve_incident(request: HttpRequest, incident_id: int) -> IncidentOut:
    """Close an incident by hand; it opens again if its rule still fires at the end of the cooldown."""
    caller = caller_of(request)
    incident = selectors.get_incident(project=caller.project, incident_id=incident_id)
    return _describe(services.resolve(incident=incident, actor=caller.actor, now=now()))


class Assignment(Body):
    assignee: str | None = Field(
        max_length=254, description="the e-mail address of a member, or null for nobody"
    )


class Comment(Body):
    text: str = Field(min_length=1, max_length=acting.MAX_COMMENT, description="plain text")


class Snooze(Body):
    until: Moment | None = Field(description="by the wall clock; null ends the snooze")


class Judged(Body):
    judgement: str = Field(json_schema_extra={"enum": list(Incident.Judgement.values)})
    reason: str = Field("", max_length=acting.MAX_REASON, description="why; needed for expected")


@router.post("/incidents/{int:incident_id}/assign", auth=Scoped(SCOPE_OF["incident"]), response=IncidentOut)
def assign_incident(request: HttpRequest, incident_id: int, body: Assignment) -> IncidentOut:
    """Assign an incident to a member of the project, or to nobody."""
    caller, incident = caller_of(request), _find(request, incident_id)
    assignee = acting.member_of(caller.project, body.assignee) if body.assignee is not None else None
    return _describe(acting.assign(incident=incident, assignee=assignee, actor=caller.actor))


@router.post(
    "/incidents/{int:incident_id}/comments",
    auth=Scoped(SCOPE_OF["incident"]),
    response={201: IncidentEventOut},
)
def comment_incident(request: HttpRequest, incident_id: int, body: Comment) -> Status[IncidentEventOut]:
    """Add a comment to the timeline of an incident."""
    incident = _find(request, incident_id)
    event = acting.comment(incident=incident, text=body.text, actor=caller_of(request).actor)
    return Status(201, IncidentEventOut.of(event))


@router.post("/incidents/{int:incident_id}/snooze", auth=Scoped(SCOPE_OF["incident"]), response=IncidentOut)
def snooze_incident(request: HttpRequest, incident_id: int, body: Snooze) -> IncidentOut:
    """Notify nobody of an incident until a time, or until an alert joins or its severity rises."""
    incident = _find(request, incident_id)
    return _describe(
        acting.snooze(incident=incident, until=body.until, actor=caller_of(request).actor, now=now())
    )


@router.post("/incidents/{int:incident_id}/judge", auth=Scoped(SCOPE_OF["incident"]), response=IncidentOut)
def judge_incident(request: HttpRequest, incident_id: int, body: Judged) -> IncidentOut:
    """Record what an incident was: real, expected or a false alarm; the last two close it where it is still open."""
    incident = _find(request, incident_id)
    actor = caller_of(request).actor
    return _describe(
        acting.judge(incident=incident, judgement=body.judgement, actor=actor, now=now(), reason=body.reason)
    )


def _find(request: HttpRequest, incident_id: int) -> Incident:
    return selectors.get_incident(project=caller_of(request).project, incident_id=incident_id)


def _describe(incident: Incident) -> IncidentOut:
    return IncidentOut.of(incident, runs_of_each([incident])[incident.pk])
