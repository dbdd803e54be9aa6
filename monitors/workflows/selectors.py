"""Reads of workflows: runs with their evidence, and the comparison of two versions."""

from datetime import datetime

from django.db.models import Q, QuerySet

from driftline.base.errors import Problem, not_found
from inference.prediction_log.queries.canary_split import describe_split, split_of
from inference.prediction_log.queries.selectors import compared_versions, first_answered
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.registry.models import Model, Version
from inference.registry.selectors import get_version, signature_of
from monitors.rules.models import Transition
from monitors.stats.promotion.gate import judge
from monitors.workflows.context import to_json
from monitors.workflows.judging.agreement import Agreement, agreement_of
from monitors.workflows.judging.canary_evidence import canary_evidence, canary_period
from monitors.workflows.judging.pairs import PairsWanted, compare_wanted, policy_of
from monitors.workflows.models import ACTIVE_STATES, Run, Step, Workflow
from monitors.workflows.schemas import AnswerShares, PairedComparisonOut, UnpairedComparisonOut
from monitors.workflows.steps.register import contract_refusal


def runs_of(model: Model) -> QuerySet[Run]:
    """List a model's runs, newest first, ready to be described."""
    return (
        Run.objects.filter(model=model)
        .select_related("model", "champion", "challenger", "rollout")
        .prefetch_related("steps")
        .order_by("-pk")
    )


def get_run(*, model: Model, run_id: int) -> Run:
    """Find a run of this model."""
    run = runs_of(model).filter(pk=run_id).first()
    if run is None:
        raise not_found("run")
    return run


def possible_challengers(model: Model) -> list[Version]:
    """List the versions that a run could compare with the champion without training, newest first."""
    champion = model.deployment.champion
    if champion is None or not champion.has_artifact:
        return []
    others = model.versions.filter(archived_at=None).exclude(pk=champion.pk).order_by("-pk")
    return [one for one in others if one.has_artifact and not contract_refusal(champion, one)]


def describe_ongoing(transition: Transition) -> list[str]:
    """Describe in sentences what is being done about a transition; `driftline` hands it to alerts."""
    runs = Run.objects.filter(model=transition.model, state__in=ACTIVE_STATES) | Run.objects.filter(
        transition=transition
    )
    return [_sentence(run) for run in runs.distinct().order_by("pk")]


def _sentence(run: Run) -> str:
    if run.waiting_for:
        return f"Retrain run {run.pk} waits for {run.waiting_for}."
    if run.state in ACTIVE_STATES:
        step = run.steps.exclude(state__in=Step.OVER).order_by("position").first()
        return f"Retrain run {run.pk} is {run.state}{f' at step {step.name}' if step else ''}."
    return f"Retrain run {run.pk} is {run.state}."


def comparison(
    *, model: Model, challenger: str, start: datetime | None = None, end: datetime | None = None
) -> PairedComparisonOut | UnpairedComparisonOut:
    """Compare a version with the champion on all ripe evidence there is now, or that of `[start, end)`, and judge it.

    A version that shadowed is compared on the same requests, a canary on others than the champion answered. Raises
    Problem `no_pairs` (409) where there is neither.
    """
    version = get_version(model=model, version=challenger)
    refuse_without_rows(model, "A comparison of requests")
    champion = _champion_of(model, version)
    compared = paired_comparison(
        model=model, champion=champion, challenger=version, start=start, end=end
    ) or unpaired_comparison(model=model, challenger=version, start=start, end=end)
    if compared is None:
        when = " in this period" if start or end else ""
        raise Problem(
            409,
            "no_pairs",
            f"Version {challenger} has answered no request beside the champion{when} with a label that had time to "
            "come, and it was no canary; let it shadow, or answer a share.",
        )
    return compared


def paired_comparison(
    *,
    model: Model,
    champion: Version,
    challenger: Version,
    start: datetime | None = None,
    end: datetime | None = None,
) -> PairedComparisonOut | None:
    """Compare what both answered to the same requests, and judge it; None where no such pair is ripe."""
    since = first_answered(challenger, role="shadow")
    if since is None:
        return None
    since = max(since, start) if start else since
    workflow = Workflow.of(model)
    pairs = compare_wanted(
        PairsWanted(model, champion, challenger, since, end), signature_of(champion), workflow
    )
    if pairs is None:
        return None
    deployment = model.deployment
    is_canary = deployment.canary_id == challenger.pk
    return PairedComparisonOut(
        **to_json(pairs),
        champion=champion.version,
        challenger=challenger.version,
        since=since,
        pairs=pairs.n_pairs,
        labelled=pairs.n_labelled,
        verdict=judge(pairs, policy_of(model, workflow, model.task)),
        canary=describe_split(deployment, split_of(deployment)) if is_canary else None,
    )


def unpaired_comparison(
    *, model: Model, challenger: Version, start: datetime | None = None, end: datetime | None = None
) -> UnpairedComparisonOut | None:
    """Compare what a canary and the champion beside it answered, and judge it; None where it never was a canary.

    Unpaired evidence goes by the names that paired evidence has, where they mean the same.
    """
    period = canary_period(model, challenger)
    period = period and period.within(start, end)
    if period is None:
        return None
    evidence = canary_evidence(model, period)
    found = evidence.found
    return UnpairedComparisonOut(
        task=found.task,
        champion=period.champion.version,
        challenger=period.canary.version,
        since=evidence.start,
        until=evidence.end,
        pairs=0,
        labelled=found.challenger.labelled,
        sides={"champion": to_json(found.champion), "challenger": to_json(found.challenger)},
        answers=[
            AnswerShares(answer=name, champion=champion, challenger=challenger)
            for name, (champion, challenger) in evidence.answers.items()
        ],
        metrics=to_json(found.metrics),
        n_blocks=found.n_blocks,
        judged_by=found.judged_by,
        confidence=found.confidence,
        verdict=evidence.verdict,
        canary=describe_split(model.deployment, evidence.split),
    )


def agreement(*, model: Model, challenger: str) -> tuple[Version, Version, Agreement | None]:
    """Return champion, challenger, and how they answered the same requests; None where there is no pair yet."""
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
    """Return the same; raises Problem `no_pairs` (409) where there is no pair yet."""
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
