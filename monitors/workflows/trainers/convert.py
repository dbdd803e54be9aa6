"""From a fitted pipeline to ONNX, and the check that both answer alike."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pandas as pd
from lightgbm import LGBMClassifier, LGBMRegressor
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)

from monitors.workflows.trainers.data import FloatArray, TrainedModel, TrainingData
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.report import ParityReport

OPSET = {"": 18, "ai.onnx.ml": 3}
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
    _register_lightgbm(type(pipeline[-1]))
    classifier = job.task != "regression"
    model = convert_sklearn(
        pipeline,
        name="model",
        initial_types=[(f.name, _tensor_type(f.type)) for f in job.features],
        options={id(pipeline): {"zipmap": False}} if classifier else None,
        target_opset=OPSET,
    )
    content: bytes = model.SerializeToString()
    return content


def _tensor_type(feature_type: str) -> Any:
    return StringTensorType([None, 1]) if feature_type == "string" else FloatTensorType([None, 1])


def _register_lightgbm(estimator: type) -> None:
    options: dict[str, list[bool] | None]
    if issubclass(estimator, LGBMClassifier):
        shapes, options = (
            calculate_linear_classifier_output_shapes,
            {"zipmap": [True, False], "nocl": [True, False]},
        )
    elif issubclass(estimator, LGBMRegressor):
        shapes, options = calculate_linear_regressor_output_shapes, {"split": None}
    else:
        return
    update_registered_converter(
        estimator,
        f"Driftline{estimator.__name__}",
        shapes,
        convert_lightgbm,
        options=options,
        overwrite=True,
    )


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
    for feature in job.features:
        gone = rng.random(len(tenth)) < 0.3
        if feature.type == "string":
            missing.loc[gone, feature.name] = job.missing_token(feature.name)
            unseen[feature.name] = UNSEEN_CATEGORY
        else:
            missing.loc[gone, feature.name] = np.nan
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
    answer: FloatArray = session.run([session.get_outputs()[-1].name], onnx_inputs(job, frame))[0]
    return answer


def onnx_inputs(job: TrainingJob, frame: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """The rows as the model's named inputs, one column tensor a feature."""
    types = {f.name: object if f.type == "string" else np.float32 for f in job.features}
    return {name: frame[name].to_numpy(kind).reshape(-1, 1) for name, kind in types.items()}


def _single_row_latency(job: TrainingJob, session: ort.InferenceSession, frame: pd.DataFrame) -> float:
    inputs = onnx_inputs(job, frame.iloc[:1])
    durations = []
    for _ in range(LATENCY_RUNS):
        started = time.perf_counter()
        session.run(None, inputs)
        durations.append(time.perf_counter() - started)
    return float(np.median(durations)) * 1e6
