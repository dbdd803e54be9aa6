"""What the training subprocess does behind its walls: load, train, convert, check, evaluate, write."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from driftline_client.conversion.needs import versions_of
from driftline_client.errors import DriftlineError
from monitors.workflows.trainers.catalogue import load_trainer
from monitors.workflows.trainers.convert import UnfaithfulConversion, check_parity, open_session, run_onnx
from monitors.workflows.trainers.data import (
    LABEL,
    TIME,
    FloatArray,
    InvalidTrainingData,
    TrainingData,
    known_labels,
    load_training_data,
    typed_features,
)
from monitors.workflows.trainers.evaluate import out_of_fold
from monitors.workflows.trainers.job import Specification, TrainingJob
from monitors.workflows.trainers.layout import IncompatibleLayout, adopt_layout
from monitors.workflows.trainers.report import (
    HOLDOUT_FILE,
    METADATA_FILE,
    MODEL_FILE,
    REFERENCE_FILE,
    REPORT_FILE,
    TrainingReport,
    Walls,
    upload_metadata,
)

LIBRARIES = ("scikit-learn", "lightgbm", "skl2onnx", "onnxmltools", "onnx", "onnxruntime")


class UnusableAnswers(Exception):
    """The model answers rows with what is no number."""

    code = "unusable_answers"


EXPLAINED = (InvalidTrainingData, DriftlineError, UnfaithfulConversion, IncompatibleLayout, UnusableAnswers)
"""Failures whose message says enough without a traceback."""


def train(specification: Specification, folder: Path, walls: Walls) -> None:
    """Load, train, convert, check and evaluate; write each result into `folder`."""
    job, seconds = specification.job, dict[str, float]()
    assert specification.target is not None
    trainer = load_trainer(specification.target)
    with timed(seconds, "load"):
        data = load_training_data(job)
    with timed(seconds, "train"):
        model = trainer(job, data)
    with timed(seconds, "convert"):
        onnx = adopt_layout(job, model.export())
        parity = check_parity(job, model, onnx, data)
    with timed(seconds, "evaluate"):
        scores, performance = out_of_fold(job, trainer, data)
    report = TrainingReport(
        trainer=specification.trainer,
        parameters=job.parameters,
        seed=job.seed,
        rows=len(data),
        out_of_fold=performance,
        parity=parity,
        libraries=versions_of(*LIBRARIES),
        seconds=seconds,
        walls=walls,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    (folder / MODEL_FILE).write_bytes(onnx)
    holdout = answer_holdout(job, onnx, job.holdout) if job.holdout else None
    write_result(folder, job, report, reference_frame(job, data, scores, job.output_classes()), holdout)


def evaluate(specification: Specification, folder: Path, walls: Walls) -> None:
    """Make a model that was trained elsewhere answer the held-out rows; write what a training writes into `folder`.

    Only of these rows it is known that the model did not learn from them, so they are its reference. Its columns are
    the classes in the job's own order, which is the champion's: no trainer of ours has sorted them.
    """
    job, seconds = specification.job, dict[str, float]()
    assert job.holdout is not None
    table = pd.read_parquet(job.holdout)
    with timed(seconds, "evaluate"):
        scores = answer_holdout(job, (folder / MODEL_FILE).read_bytes(), job.holdout)
    if unusable := int((~np.isfinite(scores)).any(axis=1).sum()):
        raise UnusableAnswers(
            f"The ONNX gives no finite number for {unusable:,} of {len(scores):,} held-out rows; a missing value may "
            "reach its estimator."
        )
    data = TrainingData(
        frame=typed_features(job, table),
        label=known_labels(job, table[LABEL]),
        time=pd.to_datetime(table[TIME], utc=True),
    )
    report = TrainingReport(
        trainer=specification.trainer,
        parameters=job.parameters,
        seed=job.seed,
        rows=len(table),
        out_of_fold=None,
        parity=None,
        libraries=versions_of("onnxruntime"),
        seconds=seconds,
        walls=walls,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )
    reference = reference_frame(job, data, scores, job.classes)
    write_result(folder, job, report, reference, scores, classes=job.classes)


def write_result(
    folder: Path,
    job: TrainingJob,
    report: TrainingReport,
    reference: pd.DataFrame,
    holdout: FloatArray | None,
    *,
    classes: list[str] | None = None,
) -> None:
    """Write what a finished training leaves beside its model; the report comes last, as readers look for it."""
    if holdout is not None:
        np.save(folder / HOLDOUT_FILE, holdout)
    reference.to_parquet(folder / REFERENCE_FILE, compression="zstd", index=False)
    (folder / METADATA_FILE).write_bytes(msgspec.json.encode(upload_metadata(job, classes)))
    (folder / REPORT_FILE).write_bytes(msgspec.json.encode(report))


def answer_holdout(job: TrainingJob, onnx: bytes, path: str) -> FloatArray:
    """Run the ONNX model on rows that it did not learn from, here, so that no worker has to open it."""
    rows = typed_features(job, pd.read_parquet(path))
    return run_onnx(job, open_session(onnx), rows).reshape(len(rows), -1)


def reference_frame(
    job: TrainingJob, data: TrainingData, scores: FloatArray, classes: list[str]
) -> pd.DataFrame:
    """The training rows as a reference: their performance is out of fold, so rules set on it are fair.

    `scores` has one row each and one column a class of `classes`, in their order.
    """
    table = data.frame.assign(timestamp=data.time, label=data.label)
    for feature in job.features:
        if feature.type == "string":  # the log keeps no token for a missing text either
            table[feature.name] = table[feature.name].replace(job.missing_token(feature.name), None)
    if job.task == "regression":
        return table.assign(prediction=scores[:, 0])
    table["prediction"] = np.array(classes, data.label.dtype)[scores.argmax(axis=1)]
    if len(classes) == 2 and job.positive_class:
        return table.assign(probability=scores[:, classes.index(job.positive_class)].astype(np.float32))
    return table.assign(
        **{f"probability_{c}": scores[:, i].astype(np.float32) for i, c in enumerate(classes)}
    )


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - started, 3)
