"""Marks on time axes: deployments, incidents, changes of the error and what people noted."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.urls import reverse

from driftline.base.accounts.models import Project
from driftline.web.charts.svg import NOTE, Mark
from inference.prediction_log.queries.selectors import oldest_event
from inference.registry.models import DeploymentChange, Model, Version
from monitors.alerts.models import Alert, Incident
from monitors.metrics.explaining.change_points import sentence_of
from monitors.metrics.selectors import change_points

MAX_NOTES = 200  # that a chart shows, the newest of its range


_ACTING_RUN = re.compile(r"run (\d+)")


def marks_in(model: Model, start: datetime, end: datetime) -> list[Mark]:
    """List deployments, incidents, changes of the error and annotations on the axis of event time, oldest first."""
    marks = [
        *_deployments(model, start, end),
        *_incidents(model, start, end),
        *_error_changes(model, start, end),
        *_annotations(model, start, end),
    ]
    return sorted(marks, key=lambda mark: mark.at)


def _deployments(model: Model, start: datetime, end: datetime) -> Iterable[Mark]:
    oldest = oldest_event(model)
    for change in model.deployment_changes.order_by("generation"):
        at = time_of(change, oldest)
        if start <= at < end:
            yield _deployment(change, at)


def time_of(change: DeploymentChange, oldest: datetime | None) -> datetime:
    """Return when a change was in event time; `oldest` is the model's first event.

    A first version comes before every event; the clock of that moment says nothing on an axis of event time.
    """
    if change.kind == "first" and oldest is not None:
        return min(change.event_time, oldest)
    return change.event_time


def _deployment(change: DeploymentChange, at: datetime) -> Mark:
    champion, shadows = change.after.get("champion"), change.after.get("shadows") or []
    reason = f": {change.reason}" if change.reason else ""
    if change.kind == "shadows":
        started = f"started version {', '.join(shadows)} as shadow" if shadows else "stopped the shadow"
        return Mark(at, "", f"{change.actor} {started}{reason}", "shadow")
    if change.kind == "canary":
        canary = change.after.get("canary")
        started = (
            f"gave the canary, version {canary['version']}, {canary['weight']:.1%} of keys"
            if canary
            else "ended the canary"
        )
        return Mark(at, "", f"{change.actor} {started}{reason}", "shadow")
    how = {"promote": "promoted", "rollback": "restored by a rollback"}.get(
        change.kind, "became the champion"
    )
    text = f"Version {champion} {how}, by {change.actor}{reason}"
    run = _ACTING_RUN.fullmatch(change.actor)
    url = reverse("run", args=[change.model.name, run[1]]) if run else ""
    return Mark(at, f"v{champion}", text, url=url)


def _incidents(model: Model, start: datetime, end: datetime) -> Iterable[Mark]:
    for incident in Incident.objects.filter(model=model, opened_at__gte=start, opened_at__lt=end):
        url = reverse("incident", args=[incident.pk])
        yield Mark(incident.opened_at, "", f"INC-{incident.pk} opened: {incident.title}", "incident", url)


def _error_changes(model: Model, start: datetime, end: datetime) -> Iterable[Mark]:
    for change in change_points(model=model, start=start, end=end):
        yield Mark(change.at, "", f"{sentence_of(change)}.", "change")


def _annotations(model: Model, start: datetime, end: datetime) -> Iterable[Mark]:
    for one in model.annotations.within(start, end).order_by("-start", "-pk")[:MAX_NOTES]:
        text = f"{one.text} (noted by {one.created_by})"
        yield Mark(one.start, "note", text, NOTE, one.link, one.end)


def firing_spans(
    model: Model, metric: str, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """The periods in which an alert about this metric fired."""
    alerts = Alert.objects.filter(model=model, metric=metric, window_end__lt=end).exclude(
        resolved_at__lt=start
    )
    return [(one.since, one.resolved_at or end) for one in alerts]


def last_promotions(project: Project) -> dict[int, datetime]:
    """When each model's champion last changed, in event time."""
    kinds = ("first", "promote", "rollback")
    changes = DeploymentChange.objects.filter(model__project=project, kind__in=kinds)
    return dict(changes.order_by("generation").values_list("model_id", "event_time"))


def versions_with_stage(model: Model, versions: Iterable[Version]) -> list[dict[str, Any]]:
    """Return each of the model's versions that is shown with the part that it plays."""
    deployment = model.deployment
    shadows = set(deployment.shadows.values_list("pk", flat=True))
    return [{"version": version, "stage": _stage(version, deployment, shadows)} for version in versions]


def _stage(version: Version, deployment: Any, shadows: set[int]) -> str:
    if version.pk == deployment.champion_id:
        return "champion"
    if version.pk == deployment.canary_id:
        return "canary"
    if version.pk in shadows:
        return "shadow"
    return "previous" if version.pk == deployment.previous_id else "not deployed"
