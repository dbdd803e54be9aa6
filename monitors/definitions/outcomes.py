"""What labelled rows came to, in the terms of their model's task."""

import numpy as np

from inference.serving.plan import Signature
from monitors.stats.outcomes import (
    OutcomeSummary,
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
    summarise_regression_outcomes,
)


def outcome_of(
    signature: Signature, label: np.ndarray, prediction: np.ndarray, score: np.ndarray | None
) -> OutcomeSummary | None:
    """Summarise the rows whose label is known (not None, not NaN); None when there are none.

    `score` is p of the positive class, or rows x classes.
    """
    labels = np.asarray(label, object)
    known = np.array([value is not None and value == value for value in labels], bool)
    if not known.any():
        return None
    labels, prediction = labels[known], prediction[known]
    score = None if score is None else score[known]
    if signature.task == "binary":
        positive = signature.positive_class
        return summarise_binary_outcomes(labels == positive, prediction == positive, score)
    if signature.task == "multiclass":
        return summarise_multiclass_outcomes(signature.classes, labels, prediction, score)
    return summarise_regression_outcomes(labels.astype(np.float64), prediction.astype(np.float64))
