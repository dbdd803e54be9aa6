"""The page of the demo: what was planted, when it was noticed and why, what was missed, and the false alarms."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import F, Min, Q
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import render

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.demo.plan import ModelPlan, PlantedChallenger
from driftline.demo.progress import load_story
from driftline.demo.scoring import FaultFinding, FaultScore, ModelScore, SeenIncident, score
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.context import demo_plans, demo_progress
from inference.registry.models import Model
from monitors.alerts.models import Alert, Delivery
from monitors.alerts.story import OPENED, UPDATED
from monitors.metrics.explaining.causes import LABELS
from monitors.workflows.models import ACTIVE_STATES, Rollout, Run, RunState


@dataclass(frozen=True)
class ChallengerRow:
    """A planted challenger and what the gate decided; gains are in ROC AUC."""

    planted: PlantedChallenger
    decision: str
    held_out: float | None = None
    live: float | None = None
    reason: str = ""
    run: Run | None = None
    repair: dict[str, Any] | None = None
    """The paired difference after the promotion, with the old champion as reverse shadow."""

    @property
    def is_right(self) -> bool:
        return self.decision == self.planted.expected


@dataclass(frozen=True)
class StoryRow:
    """One model of the demo with what became of its faults and challengers."""

    plan: ModelPlan
    has_begun: bool
    score: ModelScore
    challengers: list[ChallengerRow]


@page("GET")
def demo(request: PageRequest) -> HttpResponse:
    """Hold the stored incidents and verdicts against the stored plan."""
    project = request.visitor.project
    rows = [_story(project, plan) for plan in demo_plans(project)]
    return render(request, "pages/demo.html", {"stories": rows, "counts": _counts(rows)})


@page("GET")
def progress(request: PageRequest) -> HttpResponse:
    """The demo's banner alone, which polls itself."""
    return render(request, "partials/demo.html", {"demo": demo_progress(demo_plans(request.visitor.project))})


def _story(project: Project, plan: ModelPlan) -> StoryRow:
    incidents = seen_incidents(project, plan.model)
    return StoryRow(
        plan=plan,
        has_begun=Model.objects.filter(project=project, name=plan.model).exists(),
        score=score(plan, incidents, now=now()),
        challengers=[_challenger(project, plan, one) for one in plan.challengers],
    )


def seen_incidents(project: Project, model: str) -> list[SeenIncident]:
    """Read the alerts of a model's incidents, each with the time at which people heard of it.

    That is the first message sent after it fired; where there was none, as they knew the incident already, its opening.
    """
    sent = Q(incident__deliveries__state=Delivery.State.SENT)
    after = Q(incident__deliveries__created_at__gte=F("created_at"))
    heard = Q(incident__deliveries__event__in=(OPENED, UPDATED))
    opening = Q(incident__deliveries__event=OPENED)
    found = Alert.objects.filter(incident__project=project, model__name=model).select_related("rule")
    found = found.annotate(
        notified_at=Coalesce(
            Min("incident__deliveries__sent_at", filter=sent & after & heard),
            Min("incident__deliveries__sent_at", filter=sent & opening),
        )
    )
    return [_seen(one, one.notified_at) for one in found]


def _seen(alert: Alert, notified_at: datetime | None) -> SeenIncident:
    causes = alert.detail.get("causes", [])
    return SeenIncident(
        id=alert.incident_id,
        title=alert.title,
        rule=alert.rule_name,
        since=alert.since,
        opened_at=alert.window_end,
        resolved_at=alert.resolved_at,
        notified_at=notified_at,
        columns=[cause["feature"] for cause in causes if cause.get("feature") and cause["kind"] != LABELS],
        segments=[
            condition.replace(" = ", ":", 1)
            for cause in causes
            for condition in cause.get("segment", "").split(" and ")
        ],
    )


def _challenger(project: Project, plan: ModelPlan, one: PlantedChallenger) -> ChallengerRow:
    """Read what the gate decided: of a retrained version its run says it, of an uploaded one the plan keeps it."""
    if one.run is None:
        return ChallengerRow(one, one.decision, one.held_out_gain, one.live_gain, one.reason)
    run = Run.objects.filter(model__project=project, model__name=plan.model, pk=one.run).first()
    if run is None:
        return ChallengerRow(one, "")
    evidence = {step.name: step.evidence for step in run.steps.all()}
    return ChallengerRow(
        planted=one,
        decision=_decision(run),
        held_out=_gain(evidence.get("validate", {}).get("metrics")),
        live=_gain(evidence.get("gate", {}).get("comparison", {}).get("metrics")),
        reason=next(iter((run.verdict or {}).get("reasons", [])), ""),
        run=run,
        repair=run.rollout.repair if hasattr(run, "rollout") else None,
    )


def _decision(run: Run) -> str:
    """Return how a run ended; one that only watches what it has promoted has decided."""
    if hasattr(run, "rollout") and run.rollout.state == Rollout.State.WATCHING:
        return RunState.PROMOTED
    return "" if run.state in ACTIVE_STATES else run.state


def _gain(metrics: dict[str, Any] | None) -> float | None:
    """Return by how much a challenger's ROC AUC was higher than the champion's."""
    return ((metrics or {}).get("roc_auc") or {}).get("difference")


def _counts(rows: list[StoryRow]) -> dict[str, Any]:
    """Count over all models: what was found and missed, how fast, and false alarms of models with a plan."""
    scored = [row for row in rows if row.plan.is_scored]
    faults: list[FaultScore] = [
        one for row in scored for one in row.score.faults if one.fault.onset < _sent_until(row)
    ]
    seconds = [fault.seconds_to_find for fault in faults if fault.seconds_to_find is not None]
    return {
        "planted": len(faults),
        "found": sum(fault.finding is FaultFinding.FOUND for fault in faults),
        "missed": sum(fault.finding is FaultFinding.MISSED for fault in faults),
        "causes_right": sum(bool(fault.is_cause_right) for fault in faults),
        "slowest": max(seconds, default=None),
        "false_alarms": sum(len(row.score.unexplained) for row in scored),
        "days": sum((_sent_until(row) - row.plan.quiet_from).days for row in scored),
    }


def _sent_until(row: StoryRow) -> datetime:
    """Return up to when a model was sent rows."""
    story = load_story(settings.HOME, row.plan.model)
    return story.until if story else row.plan.quiet_from
