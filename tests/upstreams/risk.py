"""The two models of these tests: the one that the upstreams serve, and a weaker one of the same question as ONNX."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from tests.flows.installation.running import FEATURES

Rows = NDArray[np.float32]

METADATA = {
    "features": [{"name": name, "type": "float"} for name in FEATURES],
    "classes": ["0", "1"],
    "positive_class": "1",
    "outputs": {"prediction": "label", "probabilities": "probabilities"},
}


def some_rows(count: int, seed: int) -> Rows:
    return np.random.default_rng(seed).normal(size=(count, len(FEATURES))).astype(np.float32)


@cache
def theirs() -> LogisticRegression:
    """The upstream's model, learnt from 5,000 rows."""
    return _learnt_from(5_000)


@cache
def ours() -> LogisticRegression:
    """The model beside it, learnt from the first 100 of them."""
    return _learnt_from(100)


def as_onnx(model: LogisticRegression) -> bytes:
    """Convert a model: input X, outputs label and probabilities."""
    converted = to_onnx(
        model, some_rows(1, 0), options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3}
    )
    return converted.SerializeToString()


def truth_of(rows: Rows, seed: int) -> NDArray[np.int64]:
    noise = np.random.default_rng(seed).logistic(size=len(rows))
    return (rows[:, 0] - 2 * rows[:, 1] + rows[:, 2] * 0.5 + noise > 0).astype(np.int64)


def _learnt_from(count: int) -> LogisticRegression:
    rows, truth = some_rows(5_000, 1), truth_of(some_rows(5_000, 1), 2)
    return LogisticRegression().fit(rows[:count], truth[:count])
