"""Reads of alerts, each within one project: what belongs to another one does not exist."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery

from driftline.accounts.models import Project
from driftline.common.errors import not_found
from inference.registry.models import Model
from monitors.alerts.models import Channel, Delivery, DeliveryAttempt, Incident, IncidentEvent, Silence
from monitors.rules.models import Severity


@dataclass(frozen=True)
class IncidentDetail:
    """An incident with all that happened to it, oldest first."""

    incident: Incident
    timeline: list[IncidentEvent]
    deliveries: list[Delivery]


def incidents(
    *, project: Project, status: str | None = None, model: str | None = None, severity: str | None = None
) -> QuerySet[Incident]:
    """List incidents, newest first; `model` is a name."""
    rows = Incident.objects.filter(
        project=project, **_given(status=status, model__name=model, severity=severity)
    )
    return rows.select_related("model", "rule", "acknowledged_by").order_by("-opened_at", "-pk")


def open_incidents(*, project: Project) -> QuerySet[Incident]:
    """List what is not resolved, acknowledged or not, newest first."""
    return incidents(project=project).exclude(status=Incident.Status.RESOLVED)


def days_of_critical_incidents(model: Model, start: datetime, end: datetime) -> set[date]:
    """List the days of `[start, end)` that some critical incident of a model lasted in, from its first window on."""
    found = Incident.objects.filter(model=model, severity=Severity.CRITICAL, opened_by__window_start__lt=end)
    found = found.filter(Q(resolved_at=None) | Q(resolved_at__gt=start))
    days: set[date] = set()
    for begun, ended in found.values_list("opened_by__window_start", "resolved_at"):
        day, last = max(begun, start), min(ended or end, end) - timedelta(microseconds=1)
        while day.astimezone(UTC).date() <= last.astimezone(UTC).date():
            days.add(day.astimezone(UTC).date())
            day += timedelta(days=1)
    return days


def get_incident(*, project: Project, incident_id: int) -> Incident:
    """Find one incident, or raise a 404 `Problem`."""
    incident = (
        incidents(project=project).filter(pk=incident_id).select_related("project", "opened_by").first()
    )
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
    """Find the incident that a transition opened."""
    return Incident.objects.filter(opened_by=transition_id).first()


def channels(*, project: Project) -> QuerySet[Channel]:
    """List channels with `last_state` and `last_reason`, of the newest delivery that was tried."""
    tried = Delivery.objects.filter(channel=OuterRef("pk"), attempts_made__gt=0).order_by("-pk")
    rows = Channel.objects.filter(project=project).select_related("project")
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
