"""The step `train`: let the model's trainer learn, in a subprocess without our credentials."""

import shutil

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from django.conf import settings

from driftline.common.lease import LeaseLost
from inference.registry.datasets import path_of
from inference.registry.models import Dataset
from inference.signatures import Signature
from monitors.workflows.context import RunContext, StepOutcome, done
from monitors.workflows.snapshots import HOLDOUT, TRAIN
from monitors.workflows.trainers.job import Layout, TrainingJob
from monitors.workflows.trainers.launch import TrainingStopped, run_trainer

TIMEOUT_S = 600.0


def train(context: RunContext) -> StepOutcome:
    """Train in a folder of this attempt's own, so that nothing half-written by a killed one is read."""
    shutil.rmtree(context.folder, ignore_errors=True)
    folder = context.folder / f"train-{context.step.attempts}"
    context.folder.mkdir(mode=0o700, parents=True)
    try:
        result = run_trainer(
            context.workflow.trainer,
            _job(context),
            folder,
            TIMEOUT_S,
            allowed=settings.TRAINERS,
            stop=context.lost,
        )
    except TrainingStopped as stopped:
        raise LeaseLost from stopped
    report = result.report
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
    table = pq.read_table(path_of(Dataset.objects.get(pk=context.evidence_of("snapshot")["dataset"])))
    signature = context.signature
    return TrainingJob(
        data=_write(context, table, TRAIN),
        holdout=_write(context, table, HOLDOUT),
        features=signature.features,
        task=signature.task,
        classes=signature.classes,
        positive_class=signature.positive_class,
        missing=signature.missing,
        layout=_layout(signature),
        parameters=context.workflow.parameters,
        seed=context.run.pk,
    )


def _layout(signature: Signature) -> Layout | None:
    """Ask for the champion's tensors; an external champion has none, and callers of its own."""
    if not signature.inputs:
        return None
    return Layout(
        inputs=signature.inputs,
        outputs=signature.outputs,
        prediction=signature.prediction_output,
        probabilities=signature.probabilities_output,
    )


def _write(context: RunContext, table: pa.Table, split: str) -> str:
    rows = table.filter(pc.equal(table["split"], split))
    rows = rows.append_column("time", rows["timestamp"])
    path = context.folder / f"{split}.parquet"
    pq.write_table(rows.drop_columns(["version_id", "prediction", "score", "split", "timestamp"]), path)
    return str(path)
