"""What a trainer is asked to do; imports no machine-learning library, so that the launcher stays light."""

from typing import Any

from msgspec import Struct

from inference.protocol.v2.tensors import FLOATS
from inference.signatures import Feature, TensorSpec

MISSING_TOKEN = "missing"


class Layout(Struct, frozen=True, kw_only=True):
    """The tensors by which callers ask a model: a challenger needs the champion's to take its place."""

    inputs: list[TensorSpec]
    """One tensor [-1, F] whose columns are the features in order, or one [-1, 1] a feature."""
    outputs: list[TensorSpec]
    prediction: str | None
    probabilities: str | None


class TrainingJob(Struct, frozen=True, kw_only=True):
    """One order to train, as written to the child's specification file."""

    data: str
    """Absolute path of the snapshot: Parquet with the feature columns, `label` and `time`."""
    holdout: str | None = None
    """Absolute path of rows that the model must not learn from, only answer: Parquet with the features."""
    features: list[Feature]
    task: str
    """`binary`, `multiclass` or `regression`."""
    classes: list[str] = []
    """Labels that the model may answer, by their text; empty for regression."""
    positive_class: str | None = None
    missing: dict[str, str] = {}
    """Token that stands for a missing string, by feature; with a layout none stands for those of other features."""
    layout: Layout | None = None
    """The tensors that the model must have; without it one FP32 or BYTES input a feature."""
    parameters: dict[str, Any] = {}
    """The trainer's own settings, such as `trees`; an unknown one is refused."""
    seed: int = 0
    folds: int = 3
    """Folds of the out-of-fold metrics; a day is never split between folds."""

    @property
    def integer_classes(self) -> bool:
        return all(text.lstrip("-").isdigit() and str(int(text)) == text for text in self.classes)

    def can_be_missing(self, feature: str) -> bool:
        """Return whether the model's tensor for the feature can hold a missing value; whole numbers cannot."""
        if self.layout is None:
            return True
        inputs = {spec.name: spec for spec in self.layout.inputs}
        spec = inputs.get(feature, self.layout.inputs[0])
        return spec.datatype in FLOATS | {"BYTES"}

    def missing_token(self, feature: str) -> str:
        """Return the token of a feature: without one callers send no missing string, which is then an empty one."""
        return self.missing.get(feature, "" if self.layout else MISSING_TOKEN)

    def output_classes(self) -> list[str]:
        """The classes in the order of the model's probability columns: ascending, integers by value."""
        return sorted(self.classes, key=int) if self.integer_classes else sorted(self.classes)


class Limits(Struct, frozen=True, kw_only=True):
    """What the operating system lets a trainer use."""

    memory_mb: int = 4096
    cpu_seconds: int = 1800
    file_mb: int = 512


class Specification(Struct, frozen=True, kw_only=True):
    """The child's orders: the job, the entry point that the operator allowed, its limits, who ordered it."""

    trainer: str
    target: str | None
    """None where nothing is trained: `model.onnx` is in the child's folder, and answers the held-out rows alone."""
    job: TrainingJob
    limits: Limits
    parent: int
