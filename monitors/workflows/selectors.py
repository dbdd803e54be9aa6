"""Reads of workflows: runs with their evidence, and the comparison of two versions."""

from dataclasses import asdict
from typing import Any

from django.db.models import Q, QuerySet

from driftline.common.errors import Problem, not_found
from inference.prediction_log.queries.canary_split import describe_split
from inference.prediction_log.queries.selectors import compared_versions, first_answered
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.registry.models import Model, Version
from inference.registry.selectors import get_version, signature_of
from monitors.rules.models import Transition
from monitors.stats.promotion.gate import judge
from monitors.workflows.agreement import Agreement, agreement_of
from monitors.workflows.canary_evidence import CanaryEvidence, canary_evidence, canary_period
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
    """Compare a version with the champion on all ripe evidence there is now, and judge it.

    `kind` is `paired` where it shadowed, on the same requests, else `unpaired`: a canary answers requests that the
    champion does not.
    """
    version = get_version(model=model, version=challenger)
    refuse_without_rows(model, "A comparison of requests")
    champion = _champion_of(model, version)
    pairs = _paired(model, champion, version)
    if pairs is not None:
        return pairs
    period = canary_period(model, version)
    if period is not None:
        return _describe_canary_evidence(canary_evidence(model, period))
    raise Problem(
        409,
        "no_pairs",
        f"Version {challenger} has answered no request beside the champion whose label had time to come, and it was "
        "no canary; let it shadow, or answer a share.",
    )


def _paired(model: Model, champion: Version, version: Version) -> dict[str, Any] | None:
    since = first_answered(version, role="shadow")
    if since is None:
        return None
    found = compare_wanted(PairsWanted(model, champion, version, since), signature_of(champion))
    if found is None:
        return None
    workflow = Workflow.of(model)
    deployment = model.deployment
    return {
        "kind": "paired",
        **to_json(found),
        "champion": champion.version,
        "challenger": version.version,
        "since": since,
        "pairs": found.n_pairs,
        "labelled": found.n_labelled,
        "verdict": to_json(judge(found, policy_of(model, workflow, model.task))),
        "canary": describe_split(deployment) if deployment.canary_id == version.pk else None,
    }


def _describe_canary_evidence(evidence: CanaryEvidence) -> dict[str, Any]:
    """Write unpaired evidence under the names that paired evidence has, where they mean the same."""
    found = evidence.found
    sides = {"champion": found.champion, "challenger": found.challenger}
    return {
        "kind": "unpaired",
        "task": found.task,
        "champion": evidence.period.champion.version,
        "challenger": evidence.period.canary.version,
        "since": evidence.start,
        "until": evidence.end,
        "pairs": 0,
        "labelled": found.challenger.labelled,
        "sides": to_json({name: asdict(side) for name, side in sides.items()}),
        "answers": [
            {"answer": name, "champion": shares[0], "challenger": shares[1]}
            for name, shares in evidence.answers.items()
        ],
        "metrics": to_json(found.metrics),
        "n_blocks": found.n_blocks,
        "resampled": found.resampled,
        "confidence": found.confidence,
        "verdict": to_json(evidence.verdict),
        "canary": evidence.split,
    }


def agreement(*, model: Model, challenger: str) -> tuple[Version, Version, Agreement | None]:
    """Give champion, challenger, and how they answered the same requests; None where there is no pair yet."""
    version = get_version(model=model, version=challenger)
    refuse_without_rows(model, "A comparison of requests")
    champion = _champion_of(model, version)
    since = first_answered(version, role="shadow")
    if since is None:
        return champion, version, None
    return (
        champion,
        version,
        agreement_of(PairsWanted(model, champion, version, since), signature_of(champion)),
    )


def require_agreement(*, model: Model, challenger: str) -> tuple[Version, Version, Agreement]:
    """Give the same; raises Problem `no_pairs` (409) where there is no pair yet."""
    champion, version, found = agreement(model=model, challenger=challenger)
    if found is None:
        raise Problem(
            409,
            "no_pairs",
            f"Version {challenger} has answered no request beside the champion; let it shadow first.",
        )
    return champion, version, found


def last_challenger(model: Model) -> Version | None:
    """Find the version that shadows now, else the canary, else the one that shadowed last; None where none ever did."""
    now = model.deployment.shadows.order_by("-pk").first() or model.deployment.canary
    if now is not None:
        return now
    known = compared_versions(model)
    return Version.objects.get(pk=known[0]) if known else None


def challengers(model: Model) -> list[Version]:
    """List the versions that shadow or answer a share, or ever did, the newest first."""
    deployment = model.deployment
    ever = model.versions.filter(
        Q(pk__in=compared_versions(model))
        | Q(pk__in=deployment.shadows.values("pk"))
        | Q(pk=deployment.canary_id)
    )
    return list(ever.distinct().order_by("-pk"))


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
