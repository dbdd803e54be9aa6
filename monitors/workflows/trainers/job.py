"""What a trainer is asked to do; imports no machine-learning library, so that the launcher stays light."""

from typing import Any

from msgspec import Struct

from inference.serving.plan import Feature

MISSING_TOKEN = "missing"


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
    """Token that stands for a missing string, by feature; features not named use `missing`."""
    parameters: dict[str, Any] = {}
    """The trainer's own settings, such as `trees`; an unknown one is refused."""
    seed: int = 0
    folds: int = 3
    """Folds of the out-of-fold metrics; a day is never split between folds."""

    @property
    def integer_classes(self) -> bool:
        return all(text.lstrip("-").isdigit() and str(int(text)) == text for text in self.classes)

    def missing_token(self, feature: str) -> str:
        return self.missing.get(feature, MISSING_TOKEN)

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
    target: str
    job: TrainingJob
    limits: Limits
    parent: int
