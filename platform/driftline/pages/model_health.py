"""How every model of a project is, worst first, by as many queries for a thousand models as for one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from driftline.accounts.models import Project
from driftline.pages import queries, verdict
from driftline.stuck_work import is_stuck
from inference.prediction_log.queries.selectors import newest_arrivals
from inference.registry.models import Model
from monitors.alerts.selectors import open_incidents
from monitors.metrics.models import MetricPoint
from monitors.rules.models import Severity

_ORDER = {"critical": 0, "error": 1, "warning": 2, "notice": 3, "no_data": 4, "ok": 5}


@dataclass(frozen=True)
class ModelHealth:
    """How a model is; `drift_day` is the newest day on which its drift was judged."""

    model: Model
    status: str
    newest: datetime | None
    drift_day: datetime | None


def health_of_models(project: Project) -> list[ModelHealth]:
    """Tell how each model is, as the sentence of its own page does."""
    models = queries.models_of(project)
    newest, drift, severities = newest_arrivals(models), _newest_drift(models), _worst_severities(project)
    stuck, mistyped = _stuck(models), _days_with_wrong_types(models)
    found = [
        _standing(
            model,
            newest[model.pk][0],
            drift[model.pk],
            _worst(severities.get(model.pk), is_stuck=model.pk in stuck),
            mistyped.get(model.pk),
        )
        for model in models
    ]
    return sorted(found, key=lambda health: (_ORDER[health.status], health.model.name))


def verdict_of(models_health: Sequence[ModelHealth]) -> verdict.Statement:
    """Say how many models need somebody, in the words of the worst one's page."""
    worst = {
        next((s.model.pk for s in models_health if s.status in statuses), None)
        for statuses in (verdict.TROUBLED, ("notice",))
    }
    return verdict.of_project(
        [
            (s.model, verdict.of_model(s.model) if s.model.pk in worst else verdict.Statement(s.status))
            for s in models_health
        ]
    )


def worst_drifts(models_health: Iterable[ModelHealth]) -> dict[int, MetricPoint]:
    """Find the feature of each model that stood furthest beyond its limit when drift was last judged."""
    days = [Q(model=s.model, start=s.drift_day) for s in models_health if s.drift_day is not None]
    if not days:
        return {}
    points = MetricPoint.objects.filter(
        reduce(or_, days), span="day", metric="psi", segment="", role="champion", version="",
        status__in=queries.JUDGED, value__isnull=False, threshold__gt=0,
    ).exclude(feature__in=queries.NOT_FEATURES)  # fmt: skip
    worst_first = points.order_by("model_id", (F("value") / F("threshold")).desc(), "feature")
    return {point.model_id: point for point in worst_first.distinct("model_id")}


def _standing(
    model: Model,
    newest: datetime | None,
    drift: tuple[datetime | None, float | None],
    worst: str | None,
    mistyped: datetime | None,
) -> ModelHealth:
    day, drifted = drift
    if newest is None:
        status = "no_data"
    elif worst is not None:
        status = worst
    else:
        noticed = [day if drifted else None, mistyped]
        is_late = any(one is not None and newest - queries.DAY * 3 <= one < newest for one in noticed)
        status = "notice" if is_late else "ok"
    return ModelHealth(model, status, newest, day)


def _worst(severity: str | None, *, is_stuck: bool) -> str | None:
    return "error" if is_stuck and severity != "critical" else severity


def _stuck(models: QuerySet[Model]) -> set[int]:
    """List the models of which something cannot be summarised, measured or judged."""
    return set(models.order_by().filter(is_stuck()).values_list("pk", flat=True))


def _days_with_wrong_types(models: QuerySet[Model]) -> dict[int, datetime]:
    """Read of each model whose newest judged day has values of the wrong type which day that is."""
    points = MetricPoint.objects.filter(
        model=OuterRef("pk"), span="day", metric="wrong_type_share", segment="", role="champion", version="",
        status__in=queries.JUDGED,
    )  # fmt: skip
    day = Subquery(points.order_by("-start").values("start")[:1])
    wrong = Exists(points.filter(start=OuterRef("typed_day"), value__gt=0))
    found = models.order_by().annotate(typed_day=day).filter(wrong)
    return dict(found.values_list("pk", "typed_day"))


def _worst_severities(project: Project) -> dict[int, str]:
    worst: dict[int, str] = {}
    for model_id, severity in open_incidents(project=project).values_list("model_id", "severity"):
        known = worst.get(model_id, Severity.NOTICE)
        worst[model_id] = max(known, severity, key=Severity.values.index)
    return worst


def _newest_drift(models: QuerySet[Model]) -> dict[int, tuple[datetime | None, float | None]]:
    """Read of each model when its drift was last judged, and how many of its features had drifted."""
    judged = MetricPoint.objects.filter(
        model=OuterRef("pk"), span="day", metric="drifted_features", feature="", segment="", role="champion",
        version="", status__in=queries.JUDGED,
    ).order_by("-start")  # fmt: skip
    found = models.annotate(
        drift_day=Subquery(judged.values("start")[:1]), drifted=Subquery(judged.values("value")[:1])
    )
    return {pk: (day, drifted) for pk, day, drifted in found.values_list("pk", "drift_day", "drifted")}
