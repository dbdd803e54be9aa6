"""How the probability of each class is spread over rows of the class and over all others: one class against the rest.

The log-odds of a probability are counted as whole multiples of 2^-27, which keeps all float32 probabilities between
1.2e-7 and 1 - 1.2e-7 apart. A summary has at most `max_steps` of these; beyond, low bits are dropped until it fits, and
scores that then are equal are ties. Rows add up to the same summary in any order: the bits that a part drops, the whole
drops too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitors.stats.mergeable.sketches import FloatArray, IntArray

BITS = 32
"""The bits of a score; those above them number its class."""
_UNITS = 2.0**27  # of log-odds, which lie between -16 and 16
_ROWS_TOGETHER = 1 << 18  # scores that are sorted at once
_MIN_STEPS, _MIN_STEPS_OF_CLASS = 8_192, 64


def max_steps(classes: int) -> int:
    """Return how many steps a summary of so many classes has at most."""
    return max(_MIN_STEPS, _MIN_STEPS_OF_CLASS * classes)


@dataclass(frozen=True, eq=False, slots=True)
class ClassScores:
    """Rows by class and score: `positives` are of the class and `negatives` of another one.

    `steps` ascend: the position of the class, shifted by 32 bits, plus its score, whose lowest `dropped_bits` are 0.
    Each row counts once in every class.
    """

    steps: IntArray
    positives: IntArray
    negatives: IntArray
    dropped_bits: int = 0

    @property
    def classes(self) -> IntArray:
        """The position of each step's class."""
        return self.steps >> BITS

    @property
    def n(self) -> int:
        """The rows that have a score."""
        return int(self.positives.sum())

    def on_classes(self, places: Sequence[int]) -> ClassScores:
        """Number the classes anew: `places[i]` is the new position of class i."""
        if list(places) == list(range(len(places))):
            return self
        moved = np.array(places, np.int64)[self.classes] << BITS | self.steps & ((1 << BITS) - 1)
        return _add_up(moved, self.positives, self.negatives, self.dropped_bits)

    def coarser(self, dropped_bits: int) -> ClassScores:
        """Drop at least so many low bits of each score."""
        if dropped_bits <= self.dropped_bits:
            return self
        return _add_up(self.steps, self.positives, self.negatives, dropped_bits)

    def minus(self, other: ClassScores) -> ClassScores:
        """Subtract `other` on the same classes; a count may come out negative if it was never added."""
        dropped = max(self.dropped_bits, other.dropped_bits)
        return _add_up(
            np.concatenate([self.steps, other.steps]),
            np.concatenate([self.positives, -other.positives]),
            np.concatenate([self.negatives, -other.negatives]),
            dropped,
        )


_NOTHING = np.empty(0, np.int64)
NO_SCORES = ClassScores(_NOTHING, _NOTHING, _NOTHING)


def summarise_class_scores(log_odds: FloatArray, truth: IntArray) -> ClassScores:
    """Summarise rows x classes of log-odds between -16 and 16; `truth` is the position of each row's class."""
    rows, classes = log_odds.shape
    together = max(_ROWS_TOGETHER // max(classes, 1), 1)
    parts = [
        _count(log_odds[start : start + together], truth[start : start + together])
        for start in range(0, rows, together)
    ]
    return merge_class_scores(parts, classes) if parts else NO_SCORES


def _count(log_odds: FloatArray, truth: IntArray) -> ClassScores:
    scores = np.rint((log_odds + 16.0) * _UNITS).astype(np.int64)
    scores |= np.arange(log_odds.shape[1], dtype=np.int64) << BITS
    own = np.zeros(scores.shape, np.int64)
    own[np.arange(truth.size), truth] = 1
    # Whether a row is of the class stands in the lowest bit, so that one sort brings both together.
    ordered = np.sort((scores << 1 | own).ravel())
    is_own = ordered & 1
    counted = _add_up_sorted(ordered >> 1, is_own, 1 - is_own, 0)
    return _within(counted, max_steps(log_odds.shape[1]))  # the whole drops as many bits at least


def merge_class_scores(parts: Sequence[ClassScores], classes: int) -> ClassScores:
    """Add up scores of the same classes, of which there are so many."""
    dropped = max((part.dropped_bits for part in parts), default=0)
    filled = [part for part in parts if part.steps.size]
    if not filled:
        return NO_SCORES
    merged = filled[0].coarser(dropped)
    if len(filled) > 1:
        merged = _add_up(
            np.concatenate([part.steps for part in filled]),
            np.concatenate([part.positives for part in filled]),
            np.concatenate([part.negatives for part in filled]),
            dropped,
        )
    return _within(merged, max_steps(classes))


def _within(scores: ClassScores, most: int) -> ClassScores:
    """Drop as few bits as leave at most so many steps."""
    dropped = scores.dropped_bits
    while dropped < BITS and np.count_nonzero(np.diff(scores.steps >> dropped)) >= most:
        dropped += 1
    return scores.coarser(dropped)


def _add_up(steps: IntArray, positives: IntArray, negatives: IntArray, dropped: int) -> ClassScores:
    order = np.argsort(steps, kind="stable")  # mostly some ascending runs, which this merges
    return _add_up_sorted(steps[order], positives[order], negatives[order], dropped)


def _add_up_sorted(steps: IntArray, positives: IntArray, negatives: IntArray, dropped: int) -> ClassScores:
    if not steps.size:
        return ClassScores(steps, positives, negatives, dropped)
    steps = steps >> dropped << dropped
    starts = np.flatnonzero(np.diff(steps, prepend=-1))
    steps = steps[starts]
    positives, negatives = np.add.reduceat(positives, starts), np.add.reduceat(negatives, starts)
    occupied = (positives != 0) | (negatives != 0)
    return ClassScores(steps[occupied], positives[occupied], negatives[occupied], dropped)
