"""scikit-learn pipelines that convert to ONNX with one input a feature."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from monitors.workflows.trainers.convert import pipeline_to_onnx
from monitors.workflows.trainers.data import (
    FloatArray,
    InvalidTrainingData,
    TrainedModel,
    TrainingData,
)
from monitors.workflows.trainers.job import TrainingJob
from monitors.workflows.trainers.parameters import SCHEMAS, find_faults


def parameters_of(job: TrainingJob, trainer: str) -> dict[str, Any]:
    """Return the job's parameters over the defaults of a shipped trainer; one that it does not take is an error."""
    if faults := find_faults(trainer, job.parameters):
        raise InvalidTrainingData(" ".join(faults.values()))
    known = SCHEMAS[trainer]["properties"]
    return {name: schema["default"] for name, schema in known.items()} | job.parameters


def fit_tree_pipeline(job: TrainingJob, data: TrainingData, estimator: Any) -> TrainedModel:
    """Fit `estimator` on ordinal codes and imputed numbers: what trees want."""
    return _fit(job, data, _encoder(job, strings=_ordinal(), numbers=_imputer()), estimator)


def fit_linear_pipeline(job: TrainingJob, data: TrainingData, estimator: Any) -> TrainedModel:
    """Fit `estimator` on one-hot categories and standardised numbers: what linear models want."""
    categories = OneHotEncoder(handle_unknown="ignore", dtype=np.float32)
    numbers = make_pipeline(_imputer(), StandardScaler())
    return _fit(job, data, _encoder(job, strings=categories, numbers=numbers), estimator)


def _fit(job: TrainingJob, data: TrainingData, encoder: ColumnTransformer, estimator: Any) -> TrainedModel:
    pipeline = Pipeline([("encode", encoder), ("estimate", estimator)]).fit(data.frame, data.label)
    regression = job.task == "regression"

    def predict(frame: pd.DataFrame) -> FloatArray:
        answer: FloatArray = pipeline.predict(frame) if regression else pipeline.predict_proba(frame)
        return answer

    return TrainedModel(
        predict=predict,
        export=lambda: pipeline_to_onnx(job, pipeline),
        classes=[] if regression else [str(text) for text in pipeline.classes_],
    )


def _encoder(job: TrainingJob, *, strings: Any, numbers: Any) -> ColumnTransformer:
    names = {kind: [f.name for f in job.features if (f.type == "string") == kind] for kind in (True, False)}
    parts = [("strings", strings, names[True]), ("numbers", numbers, names[False])]
    return ColumnTransformer([part for part in parts if part[2]], sparse_threshold=0.0)


def _ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, dtype=np.float32)


def _imputer() -> SimpleImputer:
    """A forest trained on NaN converts without an error and answers wrongly: impute inside the pipeline."""
    return SimpleImputer(strategy="median", keep_empty_features=True)
