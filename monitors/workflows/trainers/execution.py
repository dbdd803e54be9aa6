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
    FloatArray,
    InvalidTrainingData,
    TrainingData,
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
EXPLAINED = (InvalidTrainingData, DriftlineError, UnfaithfulConversion, IncompatibleLayout)
"""Failures whose message says enough without a traceback."""


def train(specification: Specification, folder: Path, walls: Walls) -> None:
    """Load, train, convert, check and evaluate; write each result into `folder`."""
    job, seconds = specification.job, dict[str, float]()
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
    if job.holdout:
        np.save(folder / HOLDOUT_FILE, answer_holdout(job, onnx, job.holdout))
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
    reference_frame(job, data, scores).to_parquet(folder / REFERENCE_FILE, compression="zstd", index=False)
    (folder / METADATA_FILE).write_bytes(msgspec.json.encode(upload_metadata(job)))
    (folder / REPORT_FILE).write_bytes(msgspec.json.encode(report))


def answer_holdout(job: TrainingJob, onnx: bytes, path: str) -> FloatArray:
    """Let the ONNX model answer rows that it did not learn from, here, so that no worker has to open it."""
    rows = typed_features(job, pd.read_parquet(path))
    return run_onnx(job, open_session(onnx), rows).reshape(len(rows), -1)


def reference_frame(job: TrainingJob, data: TrainingData, scores: FloatArray) -> pd.DataFrame:
    """The training rows as a reference: their performance is out of fold, so rules set on it are fair."""
    table = data.frame.assign(timestamp=data.time, label=data.label)
    for feature in job.features:
        if feature.type == "string":  # the log keeps no token for a missing text either
            table[feature.name] = table[feature.name].replace(job.missing_token(feature.name), None)
    classes = job.output_classes()
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
