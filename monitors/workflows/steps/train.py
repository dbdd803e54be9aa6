"""The step `train`: let the model's trainer learn, in a subprocess without our credentials or in a pipeline."""

import shutil

from django.conf import settings

from driftline.base.work.lease import LeaseLost
from monitors.workflows.context import RunContext, StepOutcome, done
from monitors.workflows.hooks import train_in_pipeline
from monitors.workflows.starting.snapshots import HOLDOUT, TRAIN
from monitors.workflows.starting.training import limits_of, training_job, write_rows
from monitors.workflows.trainers.catalogue import REMOTE
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.launch import (
    TRAINING_SECONDS,
    TrainingStopped,
    TrainingTimedOut,
    run_trainer,
)


def train(context: RunContext) -> StepOutcome:
    """Train here, or start a pipeline and wait for what it sends; a run that began with one stays with it."""
    if context.workflow.trainer == REMOTE or hasattr(context.run, "remote_training"):
        return train_in_pipeline(context)
    return _train_here(context)


def _train_here(context: RunContext) -> StepOutcome:
    """Train in a folder of this attempt's own, so that nothing half-written by a killed one is read."""
    limits = limits_of(context)
    shutil.rmtree(context.folder, ignore_errors=True)
    folder = context.folder / f"train-{context.step.attempts}"
    context.folder.mkdir(mode=0o700, parents=True)
    try:
        result = run_trainer(
            context.workflow.trainer,
            _job(context),
            folder,
            TRAINING_SECONDS,
            allowed=settings.TRAINERS,
            limits=limits,
            stop=context.lost,
        )
    except TrainingStopped as stopped:
        raise LeaseLost from stopped
    except TrainingTimedOut as late:
        raise TrainingTimedOut(
            f"{late} Train on fewer days, with a quicker trainer or parameters that cost less, or in a pipeline."
        ) from late
    report = result.report
    assert report.out_of_fold is not None
    return done(
        {
            "folder": folder.name,
            "trainer": report.trainer,
            "parameters": report.parameters,
            "seed": report.seed,
            "rows": report.rows,
            "seconds": report.seconds,
            "peak_memory_mb": report.peak_memory_mb,
            "out_of_fold": report.out_of_fold.metrics,
            "baseline": report.out_of_fold.baseline,
            "daily": report.out_of_fold.daily,
            "grouped_by": report.out_of_fold.grouped_by,
        }
    )


def _job(context: RunContext) -> TrainingJob:
    data, holdout = context.folder / "train.parquet", context.folder / "holdout.parquet"
    write_rows(context, TRAIN, data)
    write_rows(context, HOLDOUT, holdout)
    return training_job(context, data=data, holdout=holdout)
