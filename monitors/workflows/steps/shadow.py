"""The step `shadow`: copy live requests to the challenger until enough of the pairs have their label."""

from datetime import timedelta

from driftline.base.periods import parse_timestamp, rfc3339
from inference.prediction_log.queries.selectors import newest_event
from inference.prediction_log.rows_kept import refuse_without_rows
from inference.registry.deployments import set_shadows
from inference.registry.models import Deployment
from monitors.metrics.context import label_lag
from monitors.workflows.context import Evidence, RunContext, StepFailed, StepOutcome, done, waiting
from monitors.workflows.judging.pairs import PairsWanted, count_labelled
from monitors.workflows.models import Run

TRAFFIC, PERSON = "traffic", "person"


def shadow(context: RunContext) -> StepOutcome:
    """Start shadowing, then wait for the workflow's number of ripe labelled pairs."""
    refuse_without_rows(context.run.model, "A run")
    pairs = context.workflow.pairs
    if "since" not in context.step.evidence:
        return waiting(
            progress(0, pairs, label_lag(context.model)),
            needs=TRAFFIC,
            evidence={"wanted": pairs, "pairs": 0},
            effect=_start,
        )
    compared = wanted_pairs(context.run, context.step.evidence["since"])
    found = count_labelled(compared)
    evidence = {"wanted": pairs, "pairs": found}
    if found < pairs:
        return waiting(progress(found, pairs, compared.label_lag), needs=TRAFFIC, evidence=evidence)
    return done(evidence)


def progress(found: int, wanted: int, lag: timedelta) -> str:
    """Write how far the waiting has come, and from when pairs count."""
    hours = lag / timedelta(hours=1)
    when = (
        f", each counted once its label has had {round(hours, 1):g} h to arrive (a setting of the model)"
        if hours
        else ""
    )
    return f"{found:,} of {wanted:,} labelled pairs{when}"


def wanted_pairs(run: Run, since: str) -> PairsWanted:
    """The pairs that a run compares."""
    if run.challenger is None:
        raise StepFailed("The challenger was deleted while the run was under way; start a new run.")
    return PairsWanted(run.model, run.champion, run.challenger, parse_timestamp(since))


def _start(run: Run) -> Evidence:
    """Add the challenger to the shadows that there are."""
    if run.challenger is None:
        raise StepFailed("The challenger was deleted while the run was under way; start a new run.")
    deployment = Deployment.objects.select_for_update().get(model=run.model)
    shadows = set(deployment.shadows.values_list("version", flat=True)) | {run.challenger.version}
    changed = set_shadows(
        model=run.model,
        versions=sorted(shadows),
        expected_generation=deployment.generation,
        actor=f"run {run.pk}",
        reason=f"compare version {run.challenger.version} on live requests",
    )
    since = newest_event(run.model) or run.data_until
    return {"since": rfc3339(since), "generation": changed.generation}
