"""What a converter hands back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from driftline_client.conversion.table import Table


@dataclass(frozen=True)
class Converted:
    """A model in ONNX beside the one that it was made from."""

    onnx: bytes
    predict: Callable[[Table], Any]
    """The caller's own model: rows -> probabilities, one column a class, or numbers."""
    tensors: Callable[[Table], dict[str, Any]]
    """The same rows as the inputs of the ONNX model."""
    prediction: str | None
    probabilities: str | None
    """Names of the outputs; one of them at least."""
    classes: list[str] | None = None
    """Classes in the order of the probabilities, where the graph does not name them itself."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Versions of what trained and converted it."""

    @property
    def is_classifier(self) -> bool:
        return self.probabilities is not None
