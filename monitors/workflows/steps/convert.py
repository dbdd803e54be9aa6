"""The step `convert`: the trained model is ONNX now; check how it answers."""

import shutil

from driftline.base.work.lease import LeaseLost
from monitors.workflows.context import ARTIFACT_FILE, RunContext, StepFailed, StepOutcome, done, to_json
from monitors.workflows.starting.snapshots import HOLDOUT
from monitors.workflows.starting.training import limits_of, result_of, training_job, write_rows
from monitors.workflows.trainers.catalogue import REMOTE
from monitors.workflows.trainers.launch import TRAINING_SECONDS, TrainingStopped, run_evaluation

TOLERATED_SHARE = 0.001


def convert(context: RunContext) -> StepOutcome:
    """Check the parity that the trainer's child measured on real, missing and unseen values."""
    if hasattr(context.run, "remote_training"):
        return _evaluate_artifact(context)
    parity = result_of(context).report.parity
    assert parity is not None
    if not parity.share_over_tolerance <= TOLERATED_SHARE:
        raise StepFailed(
            f"{parity.share_over_tolerance:.2%} of {parity.rows} rows differ by more than {parity.tolerance:.1g} "
            "between the trained model and its ONNX form; use another trainer."
        )
    return done(to_json({name: getattr(parity, name) for name in parity.__struct_fields__}))


def _evaluate_artifact(context: RunContext) -> StepOutcome:
    """Make a pipeline's ONNX answer the rows set aside; the model that it was made from is not here to compare with."""
    folder = context.folder / f"convert-{context.step.attempts}"
    shutil.rmtree(folder, ignore_errors=True)
    holdout = context.folder / "holdout.parquet"
    write_rows(context, HOLDOUT, holdout)
    parameters = context.run.remote_training.parameters
    job = training_job(context, data=holdout, holdout=holdout, parameters=parameters)
    try:
        result = run_evaluation(
            REMOTE,
            context.folder / ARTIFACT_FILE,
            job,
            folder,
            TRAINING_SECONDS,
            limits=limits_of(context),
            stop=context.lost,
        )
    except TrainingStopped as stopped:
        raise LeaseLost from stopped
    return done(
        {
            "folder": folder.name,
            "rows": result.report.rows,
            "parity": "not checked: only the pipeline has the model that it converted",
            "seconds": result.report.seconds,
        }
    )
