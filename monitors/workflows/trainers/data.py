"""The labelled rows that a trainer learns from, and the model it hands back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from inference.signatures import Feature
from monitors.workflows.trainers.job import TrainingJob

LABEL = "label"
TIME = "time"

FloatArray = npt.NDArray[np.floating[Any]]


class InvalidTrainingData(Exception):
    """The snapshot cannot train this model; the message says what to change."""

    code = "invalid_training_data"


@dataclass(frozen=True)
class TrainingData:
    """The labelled rows of a job, typed as the served model will see them."""

    frame: pd.DataFrame
    """One column a feature: float32 (NaN = missing), or str."""
    label: npt.NDArray[Any]
    """Class texts (or int64 where every class is an integer), or float64 for regression."""
    time: pd.Series
    """When each row was predicted, UTC."""

    def __len__(self) -> int:
        return len(self.frame)

    def rows(self, selected: npt.NDArray[Any]) -> "TrainingData":
        return TrainingData(
            frame=self.frame.iloc[selected].reset_index(drop=True),
            label=self.label[selected],
            time=self.time.iloc[selected].reset_index(drop=True),
        )


@dataclass(frozen=True)
class TrainedModel:
    """A fitted model: how to ask it here, and how to carry it into ONNX."""

    predict: Callable[[pd.DataFrame], FloatArray]
    """Probabilities, one column a class of `classes`; or one number a row for regression."""
    export: Callable[[], bytes]
    """The ONNX bytes: one input a feature, outputs `label` and `probabilities`, or `variable`."""
    classes: list[str] = field(default_factory=list)


Trainer = Callable[[TrainingJob, TrainingData], TrainedModel]
"""A trainer will fit `data` as `job` asks; it is called once for the model and once a fold."""


def load_training_data(job: TrainingJob) -> TrainingData:
    """Read the snapshot of `job`, without the rows that have no label or that the model could not be asked.

    Raises InvalidTrainingData when columns are absent, labels are unknown, or nothing is left to learn.
    """
    names = [feature.name for feature in job.features]
    available = pq.read_schema(job.data).names
    absent = [name for name in [*names, LABEL, TIME] if name not in available]
    if absent:
        raise InvalidTrainingData(
            f"The snapshot has no column {absent}; write the features, 'label' and 'time'."
        )
    table = pd.read_parquet(job.data, columns=[*names, LABEL, TIME])
    known = [LABEL, *(name for name in names if not job.can_be_missing(name))]
    table = table.dropna(subset=known, ignore_index=True)
    if table.empty:
        raise InvalidTrainingData("The snapshot has no labelled row; wait for labels or widen the window.")
    return TrainingData(
        frame=typed_features(job, table),
        label=typed_labels(job, table[LABEL]),
        time=pd.to_datetime(table[TIME], utc=True),
    )


def typed_features(job: TrainingJob, table: pd.DataFrame) -> pd.DataFrame:
    """Map each feature to the type with which the ONNX model takes it."""
    return pd.DataFrame({f.name: _typed_column(job, f, table[f.name]) for f in job.features})


def _typed_column(job: TrainingJob, feature: Feature, column: pd.Series) -> pd.Series:
    if feature.type == "string":
        return column.astype(object).where(column.notna(), job.missing_token(feature.name)).astype(str)
    return pd.to_numeric(column).astype(np.float32)


def typed_labels(job: TrainingJob, column: pd.Series) -> npt.NDArray[Any]:
    """Labels as the model learns them: texts, int64 where each class is an integer, or float64."""
    labels = known_labels(job, column)
    if job.task != "regression" and len(set(labels)) < 2:
        raise InvalidTrainingData(f"Each label is '{labels[0]}'; a classifier needs rows of two classes.")
    return labels


def known_labels(job: TrainingJob, column: pd.Series) -> npt.NDArray[Any]:
    """Labels of the job's classes, typed as the model learns them, however few classes they are of."""
    if job.task == "regression":
        return pd.to_numeric(column).to_numpy(np.float64)
    texts = column.map(class_text).to_numpy(object)
    unknown = sorted(set(texts) - set(job.classes))
    if unknown:
        raise InvalidTrainingData(f"Labels {unknown[:5]} are not among the classes {job.classes}.")
    return texts.astype(np.int64) if job.integer_classes else texts.astype(str)


def class_text(label: object) -> str:
    """A label's text, by which labels equal classes; 1.0, as a column with gaps holds it, is still '1'."""
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    return str(label)
