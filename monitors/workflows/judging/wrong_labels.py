"""Labels that contradict every version: a challenger that learnt from wrong ones is better by being less sure alone.

Where some labels are wrong, a version that expects that has a smaller log loss on them, and is right no more often.
The champion's own probabilities say how often it expects to be wrong; labels that contradict it far more often, and the
challenger as often, are either wrong or of a world in which nobody can be right: people have to say which.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inference.prediction_log.queries.frames import LogFrame
from inference.signatures import Signature
from monitors.definitions.outcomes import coded
from monitors.stats.promotion.paired import PairedComparison
from monitors.workflows.judging.pairs import scores_of

MIN_EXCESS = 0.05
"""By how many of the pairs the champion is wrong more often than it expects, at least."""
SURE = 3.0
"""By how many standard errors."""


@dataclass(frozen=True)
class WrongLabels:
    """The share of pairs on which the champion expected to be wrong, and on which labels contradict each version."""

    expected: float
    champion: float
    challenger: float

    @property
    def sentence(self) -> str:
        """Return what the labels look like."""
        return (
            f"they contradict the champion on {self.champion:.0%} of the pairs, where it expected "
            f"{self.expected:.0%}, and the challenger on {self.challenger:.0%}"
        )


def find_wrong_labels(
    comparison: PairedComparison, champion: LogFrame, signature: Signature
) -> WrongLabels | None:
    """Look for signs of wrong labels in the evidence that a challenger is better; `champion` are its labelled pairs."""
    accuracy = comparison.metrics.get("accuracy")
    if signature.task == "regression" or accuracy is None or accuracy.lower > 0:
        return None
    sure = _of_own_answers(champion, signature)
    sure = sure[np.isfinite(sure)]
    if not sure.size:
        return None
    expected, found = 1 - float(sure.mean()), 1 - accuracy.champion
    error = float(np.sqrt(found * (1 - found) / sure.size))
    if found - expected < max(MIN_EXCESS, SURE * error):
        return None
    return WrongLabels(expected, found, 1 - accuracy.challenger)


def _of_own_answers(rows: LogFrame, signature: Signature) -> NDArray[np.float64]:
    """Return the probability that the version gave the class which it answered, whatever its threshold; NaN where it
    gave none."""
    scores, answers = scores_of(rows, signature), coded(rows.prediction, signature)
    if signature.task == "binary":
        return np.where(answers == 1, scores, np.where(answers == 0, 1 - scores, np.nan))
    known = np.isfinite(answers)
    chosen = np.where(known, answers, 0).astype(np.int64)
    return np.where(known, scores[np.arange(len(chosen)), chosen], np.nan)
