"""Runs a version on features by name, whatever layout its inputs have: for importance and replays, not the hot path."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.runtime.session import Array, load_session
from inference.serving.plan import Signature, TensorSpec

_DTYPES = {
    "FP16": np.float16, "FP32": np.float32, "FP64": np.float64, "BOOL": np.bool_,
    "INT8": np.int8, "INT16": np.int16, "INT32": np.int32, "INT64": np.int64,
    "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64,
}  # fmt: skip


class FeatureScorer:
    """A version that answers features with one score a row: p of the positive class, or the regression's number."""

    def __init__(self, path: Path, sha256: str, signature: Signature) -> None:
        self._session = load_session(path, sha256)
        self._signature = signature

    def __call__(self, features: Mapping[str, Array]) -> npt.NDArray[np.float64]:
        """Score float64 (NaN = missing) and object (None = missing) columns; probabilities of several classes
        come as rows x classes."""
        signature = self._signature
        if signature.probabilities_output is not None:
            [matrix] = self._session.run(feed_of(signature, features), [signature.probabilities_output])
            if signature.positive_class is None or matrix.ndim == 1 or matrix.shape[1] == 1:
                return matrix.astype(np.float64)
            return matrix[:, signature.classes.index(signature.positive_class)].astype(np.float64)
        assert signature.prediction_output is not None
        [answer] = self._session.run(feed_of(signature, features), [signature.prediction_output])
        return answer.reshape(len(answer)).astype(np.float64)


def feed_of(signature: Signature, features: Mapping[str, Array]) -> dict[str, Array]:
    """Lay features out as the version's inputs take them: columns of one tensor, or an input each."""
    if len(signature.inputs) == 1:
        [spec] = signature.inputs
        columns = [_column(signature, features[one.name], one.name, spec) for one in signature.features]
        return {spec.name: np.column_stack(columns).reshape(-1, *_beyond_rows(spec, len(columns)))}
    return {
        spec.name: _column(signature, features[spec.name], spec.name, spec).reshape(-1, *spec.shape[1:])
        for spec in signature.inputs
    }


def _beyond_rows(spec: TensorSpec, columns: int) -> list[int]:
    return [columns] if len(spec.shape) > 1 else []


def _column(signature: Signature, values: Array, name: str, spec: TensorSpec) -> Array:
    if spec.datatype != "BYTES":
        return values.astype(_DTYPES[spec.datatype])
    token = signature.missing.get(name, "")
    return np.array([token if value is None else value for value in values], object)
