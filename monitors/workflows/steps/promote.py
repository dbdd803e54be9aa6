"""The step `promote`: let the challenger answer, by the model's autonomy at once or when a person approves."""

from pathlib import Path

from inference.registry.datasets import store_reference
from inference.registry.models import Autonomy, Model, Version
from inference.registry.services import promote as promote_version
from monitors.workflows.context import Evidence, RunContext, StepFailed, StepOutcome, done, waiting
from monitors.workflows.models import Run
from monitors.workflows.steps.shadow import PERSON
from monitors.workflows.training import result_of


def promote(context: RunContext) -> StepOutcome:
    """Switch over, and re-base the reference on what the challenger was trained on here, in one transaction."""
    approved_by = context.run.approved_by
    if context.model.autonomy != Autonomy.AUTO and not approved_by:
        return waiting("a person to approve the promotion", needs=PERSON)
    is_trained_here = "folder" in context.evidence_of("train")
    reference = result_of(context).reference_path if is_trained_here else None

    def switch(run: Run) -> Evidence:
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
