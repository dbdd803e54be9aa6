"""Runs a version on features by name, whatever layout its inputs have: for importance and replays, not the hot path."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from inference.runtime.feeds import feed_of
from inference.runtime.session import Array, OnnxSession
from inference.signatures import Signature


class FeatureScorer:
    """A version that answers features with one score a row: p of the positive class, or the regression's number."""

    def __init__(self, session: OnnxSession, signature: Signature) -> None:
        self._session = session
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
