"""Runs a version on features by name, whatever layout its inputs have: for importance and replays, not the hot path."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.runtime.session import Array, load_session
from inference.serving.plan import Signature

_DTYPES = {
    "FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "INT32": np.int32, "INT16": np.int16,
    "INT8": np.int8, "BOOL": np.bool_,
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
            [matrix] = self._session.run(self._inputs(features), [signature.probabilities_output])
            if signature.positive_class is None or matrix.ndim == 1 or matrix.shape[1] == 1:
                return matrix.astype(np.float64)
            return matrix[:, signature.classes.index(signature.positive_class)].astype(np.float64)
        assert signature.prediction_output is not None
        [answer] = self._session.run(self._inputs(features), [signature.prediction_output])
        return answer.reshape(len(answer)).astype(np.float64)

    def _inputs(self, features: Mapping[str, Array]) -> dict[str, Array]:
        signature = self._signature
        if len(signature.inputs) == 1 and len(signature.features) > 1:
            spec = signature.inputs[0]
            table = np.column_stack([features[feature.name] for feature in signature.features])
            return {spec.name: table.astype(_DTYPES[spec.datatype])}
        return {
            spec.name: self._column(features[spec.name], spec.name, spec.datatype).reshape(-1, 1)
            for spec in signature.inputs
        }

    def _column(self, values: Array, name: str, datatype: str) -> Array:
        if datatype != "BYTES":
            return values.astype(_DTYPES[datatype])
        token = self._signature.missing.get(name, "")
        return np.array([token if value is None else value for value in values], object)
