"""From a fitted pipeline to ONNX, and the check that both answer alike."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import pandas as pd

from driftline_client.conversion.scikit import to_onnx
from monitors.workflows.trainers.data import FloatArray, TrainedModel, TrainingData
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.layout import onnx_inputs
from monitors.workflows.trainers.report import ParityReport

PARITY_ROWS = 4_000
PARITY_TOLERANCE = 1e-4
PARITY_SHARE = 0.001
LATENCY_RUNS = 100
UNSEEN_CATEGORY = "a category that no training row had"


class UnfaithfulConversion(Exception):
    """The ONNX model does not answer as the fitted model does; it must not be served."""

    code = "unfaithful_conversion"


def pipeline_to_onnx(job: TrainingJob, pipeline: Any) -> bytes:
    """Convert a fitted scikit-learn pipeline; LightGBM estimators inside it too."""
    inputs = [(f.name, "string" if f.type == "string" else "float", 1) for f in job.features]
    return to_onnx(pipeline, inputs, is_classifier=job.task != "regression")


def check_parity(job: TrainingJob, model: TrainedModel, onnx: bytes, data: TrainingData) -> ParityReport:
    """Compare both models on sampled rows, on rows with values missing, and on unseen categories.

    Raises UnfaithfulConversion when more than one row in a thousand differs beyond the tolerance, which is
    absolute for probabilities and relative to the spread of the answers for regression.
    """
    frame = parity_rows(job, data)
    expected = np.asarray(model.predict(frame.rows), np.float64).reshape(len(frame.rows), -1)
    session = open_session(onnx)
    answered = run_onnx(job, session, frame.rows).reshape(expected.shape)
    tolerance = PARITY_TOLERANCE * (float(expected.std()) or 1.0 if job.task == "regression" else 1.0)
    difference = np.abs(expected - answered).max(axis=1)
    report = ParityReport(
        rows=len(frame.rows),
        missing_rows=frame.missing,
        unseen_rows=frame.unseen,
        max_difference=float(difference.max()),
        tolerance=tolerance,
        share_over_tolerance=float((difference > tolerance).mean()),
        size_bytes=len(onnx),
        row_latency_us=_single_row_latency(job, session, frame.rows),
    )
    if not report.share_over_tolerance <= PARITY_SHARE:
        raise UnfaithfulConversion(
            f"{report.share_over_tolerance:.2%} of {report.rows} rows differ by more than {tolerance:.1g} "
            f"between the trained model and its ONNX form (at most {report.max_difference:.2g}); "
            "use another trainer."
        )
    return report


@dataclass(frozen=True)
class ParityRows:
    rows: pd.DataFrame
    missing: int
    unseen: int


def parity_rows(job: TrainingJob, data: TrainingData) -> ParityRows:
    """Sample real rows, and add copies with missing values and with unseen categories."""
    rng = np.random.default_rng(job.seed)
    chosen = rng.choice(len(data), size=min(PARITY_ROWS, len(data)), replace=False)
    real = data.frame.iloc[chosen]
    tenth = real.iloc[: max(1, len(real) // 10)]
    missing, unseen = tenth.copy(), tenth.copy()
    for feature in filter(lambda feature: job.can_be_missing(feature.name), job.features):
        is_missing = rng.random(len(tenth)) < 0.3
        if feature.type == "string":
            missing.loc[is_missing, feature.name] = job.missing_token(feature.name)
            unseen[feature.name] = UNSEEN_CATEGORY
        else:
            missing.loc[is_missing, feature.name] = np.nan
    rows = pd.concat([real, missing, unseen], ignore_index=True)
    return ParityRows(rows=rows, missing=len(missing), unseen=len(unseen))


def open_session(onnx: bytes) -> ort.InferenceSession:
    """Load the model as the server does: one thread, no spinning."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def run_onnx(job: TrainingJob, session: ort.InferenceSession, frame: pd.DataFrame) -> FloatArray:
    """Ask the ONNX model for the probabilities, or the numbers, of the rows of `frame`."""
    name = session.get_outputs()[-1].name
    if job.layout is not None:
        name = job.layout.probabilities or job.layout.prediction or name
    answer: FloatArray = session.run([name], onnx_inputs(job, frame))[0]
    if len(job.classes) == 2 and answer.size == len(frame):  # the probability of the second class alone
        second = answer.reshape(-1, 1)
        return np.hstack([1 - second, second])
    return answer


def _single_row_latency(job: TrainingJob, session: ort.InferenceSession, frame: pd.DataFrame) -> float:
    inputs = onnx_inputs(job, frame.iloc[:1])
    durations = []
    for _ in range(LATENCY_RUNS):
        started = time.perf_counter()
        session.run(None, inputs)
        durations.append(time.perf_counter() - started)
    return float(np.median(durations)) * 1e6
