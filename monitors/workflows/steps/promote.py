"""The step `promote`: let the challenger answer, by the model's autonomy at once or when a person approves."""

from pathlib import Path

from inference.registry.deployments import promote as promote_version
from inference.registry.files.datasets import store_reference
from inference.registry.models import Autonomy, Model, Version
from monitors.workflows.context import (
    ChangedMeanwhile,
    Evidence,
    RunContext,
    StepFailed,
    StepOutcome,
    done,
    waiting,
)
from monitors.workflows.models import Rollout, Run
from monitors.workflows.rollouts.plan import RolloutPlan
from monitors.workflows.rollouts.progress import begin_watch, plan_of, rollout_of
from monitors.workflows.starting.training import has_result, result_of
from monitors.workflows.steps.rollout import wait_while_paused
from monitors.workflows.steps.shadow import PERSON


def promote(context: RunContext) -> StepOutcome:
    """Switch over, and re-base the reference on what the challenger was trained on here, in one transaction.

    With a watch the champion of before begins to answer copies in the same one. A rollout that a person paused after
    its last step waits for them.
    """
    rollout, seen = rollout_of(context.run), context.run.generation
    if rollout is not None and rollout.state == Rollout.State.PAUSED:
        return wait_while_paused(rollout)
    approved_by = context.run.approved_by
    if context.model.autonomy != Autonomy.AUTO and not approved_by:
        return waiting("a person to approve the promotion", needs=PERSON)
    reference = result_of(context).reference_path if has_result(context) else None
    plan = plan_of(rollout) if rollout else RolloutPlan.parse(context.workflow.rollout)

    def switch(run: Run) -> Evidence:
        if run.generation != seen:
            raise ChangedMeanwhile
        if run.challenger is None:
            raise StepFailed("The challenger was deleted while the run was under way; start a new run.")
        rebased = _rebase(run.model, run.challenger, reference, context.actor) if reference else {}
        deployment = promote_version(
            model=run.model,
            version=run.challenger.version,
            expected_generation=None,
            actor=context.actor,
            reason=f"{run.trigger}; approved by {approved_by}" if approved_by else run.trigger,
        )
        if plan.watch_seconds:
            begin_watch(run, plan)
        return {**rebased, "generation": deployment.generation}

    return done({"approved_by": approved_by or "autonomy"}, effect=switch)


def _rebase(model: Model, version: Version, reference: Path, actor: str) -> Evidence:
    with reference.open("rb") as stream:
        dataset = store_reference(
            model=model,
            version=version.version,
            stream=stream,
            content_type="application/vnd.apache.parquet",
            actor=actor,
        )
    return {"reference": dataset.pk, "reference_rows": dataset.rows}
