"""Reads of workflows: runs with their evidence, and the comparison of two versions."""

from datetime import datetime
from typing import Any

from django.db.models import Min, QuerySet

from driftline.common.errors import Problem, not_found
from driftline.common.periods import rfc3339
from inference.prediction_log.models import PredictionChunk, PredictionRole
from inference.registry.models import Model, Version
from inference.registry.selectors import get_version, signature_of
from monitors.rules.models import Transition
from monitors.stats.comparison import judge
from monitors.workflows.context import to_json
from monitors.workflows.models import ACTIVE_STATES, Run, Step, Workflow
from monitors.workflows.pairs import PairsWanted, compare_wanted, policy_of


def runs_of(model: Model) -> QuerySet[Run]:
    """List a model's runs, newest first, ready to be described."""
    return (
        Run.objects.filter(model=model)
        .select_related("model", "champion", "challenger")
        .prefetch_related("steps")
        .order_by("-pk")
    )


def get_run(*, model: Model, run_id: int) -> Run:
    """Find a run of this model."""
    run = runs_of(model).filter(pk=run_id).first()
    if run is None:
        raise not_found("run")
    return run


def needs_no_traffic(model: Model) -> bool:
    """Tell whether a run has a step to do that waits neither for traffic nor for a person."""
    return Run.objects.filter(model=model, state__in=ACTIVE_STATES, needs="").exists()


def describe_run(run: Run) -> dict[str, Any]:
    """Write a run as the API gives it, with each step's evidence."""
    return {
        "id": run.pk,
        "state": run.state,
        "trigger": run.trigger,
        "model": run.model.name,
        "champion": run.champion.version,
        "challenger": run.challenger.version if run.challenger else None,
        "data_until": rfc3339(run.data_until),
        "waiting_for": run.waiting_for or None,
        "approved_by": run.approved_by or None,
        "verdict": run.verdict,
        "created_at": rfc3339(run.created_at),
        "finished_at": _moment(run.finished_at),
        "steps": [describe_step(step) for step in sorted(run.steps.all(), key=lambda step: step.position)],
    }


def describe_step(step: Step) -> dict[str, Any]:
    """Write a step as the API gives it."""
    return {
        "name": step.name,
        "state": step.state,
        "started_at": _moment(step.started_at),
        "finished_at": _moment(step.finished_at),
        "attempts": step.attempts,
        "evidence": step.evidence,
        "error": step.error or None,
    }


def describe_workflow(model: Model) -> dict[str, Any]:
    """Write how a model is retrained as the API gives it; the defaults where nothing was set."""
    workflow = Workflow.objects.filter(model=model).first() or Workflow(model=model)
    return {
        "trainer": workflow.trainer,
        "parameters": workflow.parameters,
        "training_days": workflow.training_days,
        "min_training_rows": workflow.min_training_rows,
        "pairs": workflow.pairs,
        "max_pairs": workflow.max_pairs,
        "gate": workflow.gate,
        "max_runs_a_day": workflow.max_runs_a_day,
    }


def describe_ongoing(transition: Transition) -> list[str]:
    """Say in sentences what is being done about a transition; alerts are told so by the roof."""
    runs = Run.objects.filter(model=transition.model, state__in=ACTIVE_STATES) | Run.objects.filter(
        transition=transition
    )
    return [_sentence(run) for run in runs.distinct().order_by("pk")]


def _sentence(run: Run) -> str:
    if run.waiting_for:
        return f"Retrain run {run.pk} waits for {run.waiting_for}."
    if run.state in ACTIVE_STATES:
        step = run.steps.exclude(state=Step.State.DONE).order_by("position").first()
        return f"Retrain run {run.pk} is {run.state}{f' at step {step.name}' if step else ''}."
    return f"Retrain run {run.pk} is {run.state}."


def comparison(*, model: Model, challenger: str) -> dict[str, Any]:
    """Compare a version with the champion it shadowed, on all ripe pairs there are now, and judge it."""
    version = get_version(model=model, version=challenger)
    champion = _champion_of(model, version)
    since = _first_shadowed(version)
    workflow = Workflow.objects.filter(model=model).first() or Workflow(model=model)
    signature = signature_of(champion)
    found = None
    if since is not None and signature is not None:
        found = compare_wanted(PairsWanted(model, champion, version, since), signature)
    if found is None:
        raise Problem(
            409,
            "no_pairs",
            f"Version {challenger} has answered no request beside the champion whose label had time to come.",
        )
    evidence = to_json(found)
    verdict = judge(found, policy_of(model, workflow, model.task))
    return {
        **evidence,
        "champion": champion.version,
        "challenger": version.version,
        "since": _moment(since),
        "pairs": found.n_pairs,
        "labelled": found.n_labelled,
        "verdict": to_json(verdict),
    }


def _champion_of(model: Model, challenger: Version) -> Version:
    """The version that answered while `challenger` shadowed: its run's, else today's champion."""
    run = (
        Run.objects.filter(model=model, challenger=challenger)
        .select_related("champion")
        .order_by("-pk")
        .first()
    )
    champion = run.champion if run else model.deployment.champion
    if champion is None:
        raise Problem(409, "no_champion", f"{model} has no champion to compare with; upload a version first.")
    return champion


def _first_shadowed(version: Version) -> datetime | None:
    chunks = PredictionChunk.objects.filter(model=version.model, version=version, role=PredictionRole.SHADOW)
    return chunks.aggregate(first=Min("start"))["first"]


def _moment(moment: datetime | None) -> str | None:
    return rfc3339(moment) if moment else None
