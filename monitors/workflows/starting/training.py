"""What a run's training is asked for, and what it left behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inference.registry.files.datasets import path_of
from inference.registry.models import Dataset
from inference.signatures import Signature
from monitors.workflows.context import RunContext, StepFailed
from monitors.workflows.trainers.job import Layout, Limits, TrainingJob
from monitors.workflows.trainers.launch import memory_of_machine_mb, read_result
from monitors.workflows.trainers.report import TrainingResult

OF_DRIFTLINE = ("version_id", "prediction", "score", "split", "timestamp")
"""Columns of a snapshot that no trainer sees."""
BATCH_ROWS = 100_000
READ_BYTES = 1 << 20


def training_job(
    context: RunContext, *, data: Path, holdout: Path, parameters: dict[str, Any] | None = None
) -> TrainingJob:
    """Describe what a challenger has to be: the champion's features, classes and tensors.

    Without `parameters` it has those of the workflow.
    """
    signature = context.signature
    return TrainingJob(
        data=str(data),
        holdout=str(holdout),
        features=signature.features,
        task=signature.task,
        classes=signature.classes,
        positive_class=signature.positive_class,
        missing=signature.missing,
        layout=layout_of(signature),
        parameters=context.workflow.parameters if parameters is None else parameters,
        seed=context.run.pk,
    )


def layout_of(signature: Signature) -> Layout | None:
    """Return the tensors that a challenger needs: the champion's. An external one has none, and callers of its own."""
    if not signature.inputs:
        return None
    return Layout(
        inputs=signature.inputs,
        outputs=signature.outputs,
        prediction=signature.prediction_output,
        probabilities=signature.probabilities_output,
    )


def limits_of(context: RunContext) -> Limits:
    """Return what a training, or the evaluation of a model, may use here.

    Raises `StepFailed` on a machine that has less than the workflow asks for.
    """
    asked, there = context.workflow.memory_mb, memory_of_machine_mb()
    if asked is None:
        return Limits(memory_mb=min(Limits().memory_mb, there))
    if asked > there:
        raise StepFailed(
            f"The workflow lets a training use {asked:,} MiB of memory (memory_mb), and the worker's machine has "
            f"{there:,}; ask for less, or give the worker more."
        )
    return Limits(memory_mb=asked)


def write_rows(context: RunContext, split: str, path: Path) -> None:
    """Write the snapshot's rows of one split as Parquet: the features, `label` and `time`."""
    batches = read_rows(context, split, BATCH_ROWS)
    with pq.ParquetWriter(path, next(batches).schema) as writer:
        for rows in batches:
            writer.write_table(rows)


def read_rows(context: RunContext, split: str, max_rows: int) -> Iterator[pa.Table]:
    """Read the snapshot's rows of one split as `read_split` does."""
    dataset = Dataset.objects.get(pk=context.evidence_of("snapshot")["dataset"])
    return read_split(path_of(dataset), split, max_rows)


def read_split(path: Path, split: str, max_rows: int) -> Iterator[pa.Table]:
    """Read a snapshot's rows of one split, at most `max_rows` at a time, after an empty table of their columns.

    No more than that is in memory at a time: Arrow would else keep the bytes of all row groups that it has read.
    """
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as file:
        yield _for_trainers(file.schema_arrow.empty_table())
        for batch in file.iter_batches(max_rows):
            table = pa.table(batch)
            if (rows := table.filter(pc.equal(table["split"], split))).num_rows:
                yield _for_trainers(rows)


def _for_trainers(rows: pa.Table) -> pa.Table:
    return rows.append_column("time", rows["timestamp"]).drop_columns(list(OF_DRIFTLINE))


def has_result(context: RunContext) -> bool:
    """Return whether the run trained its challenger, here or in a pipeline, instead of being given one."""
    return bool(_result_folder(context))


def result_of(context: RunContext) -> TrainingResult:
    """Read the files of the run's finished training; raises StepFailed when this machine does not have them."""
    try:
        return read_result(context.folder / _result_folder(context))
    except FileNotFoundError as error:
        raise StepFailed("The training's files are not on this machine; start a new run.") from error


def _result_folder(context: RunContext) -> str:
    """Name the folder with the result; that of a pipeline is made by the step `convert`."""
    return str(context.evidence_of("train").get("folder") or context.evidence_of("convert").get("folder", ""))
