"""Reads of alerts, each within one project: what belongs to another one does not exist."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Case, OuterRef, Prefetch, Q, QuerySet, Subquery, When

from driftline.base.accounts.models import Project, User
from driftline.base.errors import not_found
from driftline.base.periods import day_of
from inference.registry.models import Model
from monitors.alerts.models import Alert, Channel, Delivery, DeliveryAttempt, Incident, IncidentEvent, Silence
from monitors.rules.models import Severity


@dataclass(frozen=True)
class IncidentDetail:
    """An incident with all that happened to it, oldest first."""

    incident: Incident
    timeline: list[IncidentEvent]
    deliveries: list[Delivery]


def incidents(
    *,
    project: Project,
    status: str | None = None,
    model: str | None = None,
    severity: str | None = None,
    assignee: User | None = None,
) -> QuerySet[Incident]:
    """List incidents, newest first; `model` is a name."""
    given = _given(status=status, model__name=model, severity=severity, assignee=assignee)
    rows = Incident.objects.filter(project=project, **given)
    alerts = Prefetch("alerts", Alert.objects.select_related("rule").order_by("pk"))
    rows = rows.select_related("model", "lead__rule__model", "lead__model", "acknowledged_by", "assignee")
    return rows.prefetch_related(alerts).order_by("-opened_at", "-pk")


def open_incidents(*, project: Project) -> QuerySet[Incident]:
    """List what is not resolved, acknowledged or not, newest first."""
    return incidents(project=project).exclude(status=Incident.Status.RESOLVED)


def worst_first(rows: QuerySet[Incident]) -> QuerySet[Incident]:
    """Order incidents: open ones by severity, each severity's newest first; then resolved ones, the newest first."""
    rank = Case(
        When(status=Incident.Status.RESOLVED, then=-1),
        *(When(severity=severity, then=place) for place, severity in enumerate(Severity.values)),
        default=0,
    )
    return rows.order_by(rank.desc(), "-opened_at", "-pk")


def days_of_critical_incidents(model: Model, start: datetime, end: datetime) -> set[date]:
    """List the days of `[start, end)` that some critical alert of a model lasted in, from its first window on."""
    found = Alert.objects.filter(model=model, severity=Severity.CRITICAL, window_start__lt=end)
    found = found.filter(Q(resolved_at=None) | Q(resolved_at__gt=start))
    days: set[date] = set()
    for begun, ended in found.values_list("window_start", "resolved_at"):
        day, last = max(begun, start), min(ended or end, end) - timedelta(microseconds=1)
        while day_of(day) <= day_of(last):
            days.add(day_of(day))
            day += timedelta(days=1)
    return days


def get_incident(*, project: Project, incident_id: int) -> Incident:
    """Find one incident, or raise a 404 `Problem`."""
    incident = incidents(project=project).filter(pk=incident_id).select_related("project").first()
    if incident is None:
        raise not_found("incident")
    return incident


def incident_detail(*, project: Project, incident_id: int) -> IncidentDetail:
    """Gather an incident with its timeline, and its deliveries with their attempts."""
    incident = get_incident(project=project, incident_id=incident_id)
    return IncidentDetail(
        incident=incident,
        timeline=list(incident.events.order_by("at", "pk")),
        deliveries=list(deliveries(project=project, incident_id=incident_id).order_by("pk")),
    )


def incident_of(*, transition_id: int) -> Incident | None:
    """Find the incident that a transition opened or joined."""
    return Incident.objects.filter(alerts__opened_by=transition_id).first()


def channels(*, project: Project) -> QuerySet[Channel]:
    """List channels that are not deleted, with `last_state` and `last_reason` of the newest delivery that was tried."""
    tried = Delivery.objects.filter(channel=OuterRef("pk"), attempts_made__gt=0).order_by("-pk")
    rows = Channel.objects.filter(project=project, deleted_at=None).select_related("project")
    return rows.annotate(
        last_state=Subquery(tried.values("state")[:1]), last_reason=Subquery(tried.values("reason")[:1])
    ).order_by("name")


def get_channel(*, project: Project, channel_id: int) -> Channel:
    """Find one channel, or raise a 404 `Problem`."""
    channel = channels(project=project).filter(pk=channel_id).first()
    if channel is None:
        raise not_found("channel")
    return channel


def deliveries(
    *,
    project: Project,
    state: str | None = None,
    channel_id: int | None = None,
    incident_id: int | None = None,
) -> QuerySet[Delivery]:
    """List deliveries, newest first, with their attempts."""
    rows = Delivery.objects.filter(
        channel__project=project, **_given(state=state, channel_id=channel_id, incident_id=incident_id)
    )
    return rows.select_related("channel__project", "incident").prefetch_related("attempts").order_by("-pk")


def get_delivery(*, project: Project, delivery_id: int) -> Delivery:
    """Find one delivery, or raise a 404 `Problem`."""
    delivery = deliveries(project=project).filter(pk=delivery_id).first()
    if delivery is None:
        raise not_found("delivery")
    return delivery


def attempts(*, delivery: Delivery) -> QuerySet[DeliveryAttempt]:
    """List the attempts of a delivery, oldest first."""
    return delivery.attempts.order_by("pk")


def silences(*, project: Project) -> QuerySet[Silence]:
    """List silences, the one that ends last first."""
    return Silence.objects.filter(project=project).select_related("model").order_by("-end", "-pk")


def get_silence(*, project: Project, silence_id: int) -> Silence:
    """Find one silence, or raise a 404 `Problem`."""
    silence = silences(project=project).filter(pk=silence_id).first()
    if silence is None:
        raise not_found("silence")
    return silence


def _given(**filters: Any) -> dict[str, Any]:
    return {name: value for name, value in filters.items() if value is not None}
