"""What a training subprocess hands back: files and their typed contents."""

from pathlib import Path
from typing import Any

from msgspec import Struct

from inference.signatures import Feature
from monitors.workflows.trainers.job import TrainingJob

MODEL_FILE = "model.onnx"
REPORT_FILE = "report.json"
METADATA_FILE = "metadata.json"
REFERENCE_FILE = "reference.parquet"
HOLDOUT_FILE = "holdout.npy"


class ParityReport(Struct, frozen=True, kw_only=True):
    """How closely the ONNX model repeats the fitted model on real, missing and unseen values."""

    rows: int
    missing_rows: int
    unseen_rows: int
    max_difference: float
    tolerance: float
    share_over_tolerance: float
    size_bytes: int
    row_latency_us: float
    """Median time of one single-row run in this process, microseconds."""


class OutOfFold(Struct, frozen=True, kw_only=True):
    """A model's performance on its own training rows, each scored by a model that never saw its day."""

    metrics: dict[str, float]
    baseline: dict[str, float]
    """The same metrics for the answer that ignores every feature: the class shares, or the mean."""
    daily: dict[str, list[float]]
    """5%, 50% and 95% quantiles of each metric over the days on which it exists."""
    rows: int
    days: int
    folds: int
    grouped_by: str
    """`day`; `row` where all rows fall on one day, which flatters the model."""


class TrainedOutputs(Struct, frozen=True, omit_defaults=True):
    prediction: str | None = None
    probabilities: str | None = None


class TrainedMetadata(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The `metadata` part of a version's upload, which `docs/guides/serve-a-model.md` describes."""

    features: list[Feature]
    outputs: TrainedOutputs
    classes: list[str] = []
    positive_class: str | None = None
    missing: dict[str, str] = {}


class Walls(Struct, frozen=True, kw_only=True):
    """What the system let the subprocess give up before the trainer was loaded."""

    network: bool
    """It is in an empty network namespace, or can open no socket."""
    files: bool
    """It opens its own folder, its data and installed code, and nothing else: no key, no other process."""
    calls: bool
    """It opens no socket, starts no process and reaches into none."""
    powers: bool
    """It has no power of root."""


class TrainingReport(Struct, frozen=True, kw_only=True):
    """What happened in the subprocess, as evidence for the run."""

    trainer: str
    parameters: dict[str, Any]
    seed: int
    rows: int
    out_of_fold: OutOfFold | None
    """None of a model that came from a pipeline, as is `parity`."""
    parity: ParityReport | None
    libraries: dict[str, str]
    """Versions of the libraries that trained and converted it."""
    seconds: dict[str, float]
    """Wall time of `load`, `train`, `convert`, `evaluate`."""
    peak_memory_mb: float
    walls: Walls | None = None
    """None in reports of releases that raised none."""


class TrainingResult(Struct, frozen=True, kw_only=True):
    """A finished training: its files in `folder`, its report and its upload metadata."""

    folder: str
    report: TrainingReport
    metadata: TrainedMetadata

    @property
    def model_path(self) -> Path:
        return Path(self.folder) / MODEL_FILE

    @property
    def reference_path(self) -> Path:
        """Rows with `label`, `timestamp`, and what a model that did not learn from them answers.

        These are the training rows and their out-of-fold answers; of a model that came from a pipeline, the rows that
        were set aside.
        """
        return Path(self.folder) / REFERENCE_FILE

    @property
    def holdout_scores_path(self) -> Path:
        """What the ONNX model answers for the job's held-out rows: one row each, one column a class."""
        return Path(self.folder) / HOLDOUT_FILE


def upload_metadata(job: TrainingJob, classes: list[str] | None = None) -> TrainedMetadata:
    """Name the model's features, outputs and classes as the registry wants them.

    `classes` are in the order of the model's probability columns; without them in that of a trainer here.
    """
    tokens = {f.name: job.missing_token(f.name) for f in job.features if f.type == "string"}
    missing = {name: token for name, token in tokens.items() if token}
    own = TrainedOutputs("variable") if job.task == "regression" else TrainedOutputs("label", "probabilities")
    outputs = TrainedOutputs(job.layout.prediction, job.layout.probabilities) if job.layout else own
    if job.task == "regression":
        return TrainedMetadata(features=job.features, outputs=outputs, missing=missing)
    return TrainedMetadata(
        features=job.features,
        outputs=outputs,
        classes=job.output_classes() if classes is None else classes,
        positive_class=job.positive_class,
        missing=missing,
    )
