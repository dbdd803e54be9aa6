"""Requests that two versions answered, as arrays, and the metrics of both on those that have labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.promotion.differences import (
    METRICS,
    MetricDifference,
    blocks_of,
    difference_of,
    has_days,
    metric_by_blocks,
)
from monitors.stats.promotion.standard_errors import StandardError, error_within


class UnusablePairs(ValueError):
    """The pairs' arrays do not fit together or do not fit the task."""


@dataclass(frozen=True, eq=False, slots=True)
class Pairs:
    """Pairs as arrays: scores are (n,) for binary and regression, (n, classes) for multiclass."""

    task: str
    y: FloatArray
    champion: FloatArray
    challenger: FloatArray
    champion_answer: FloatArray
    challenger_answer: FloatArray
    block: NDArray[np.int64]

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Pairs:
        return Pairs(
            self.task, self.y[chosen], self.champion[chosen], self.challenger[chosen],
            self.champion_answer[chosen], self.challenger_answer[chosen], self.block[chosen],
        )  # fmt: skip


def read_pairs(
    task: str,
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    champion_answer: ArrayLike | None,
    challenger_answer: ArrayLike | None,
    block: ArrayLike,
) -> Pairs:
    if task not in METRICS:
        raise UnusablePairs(f"The task is '{task}'; pairs are compared for {', '.join(METRICS)}.")
    labels = np.asarray(y, dtype=np.float64)
    scores = [np.asarray(score, dtype=np.float64) for score in (champion, challenger)]
    answers = [
        answers_of(task, score) if answer is None else np.asarray(answer, dtype=np.float64)
        for score, answer in zip(scores, (champion_answer, challenger_answer), strict=True)
    ]
    blocks = np.asarray(block, dtype=np.int64)
    lengths = {len(array) for array in (labels, *scores, *answers, blocks)}
    if len(lengths) != 1:
        raise UnusablePairs(
            f"The arrays of the pairs have the lengths {sorted(lengths)}; give one row a pair."
        )
    if any(score.ndim != (2 if task == "multiclass" else 1) for score in scores):
        raise UnusablePairs(
            f"Scores of the task '{task}' have {scores[0].ndim} dimensions; see compare_pairs."
        )
    return Pairs(task, labels, scores[0], scores[1], answers[0], answers[1], blocks)


def answers_of(task: str, score: FloatArray) -> FloatArray:
    """Answer as a model does that is told no threshold: from 0.5 on, the most probable class, or the value itself."""
    if task == "binary":
        return (score >= 0.5).astype(np.float64)
    return score.argmax(axis=1).astype(np.float64) if task == "multiclass" else score


def paired_metrics(
    pairs: Pairs, *, tail: float, names: Sequence[str] | None = None
) -> dict[str, MetricDifference]:
    """Measure both versions on the same rows; either bound of a difference is wrong with the chance `tail`."""
    if not pairs.y.size:
        return {}
    blocks, count = blocks_of(pairs.block)
    rows, metrics, are_days = np.bincount(blocks, minlength=count), {}, has_days(pairs.block)
    for name in names or METRICS[pairs.task]:
        champion = metric_by_blocks(name, pairs.y, pairs.champion, pairs.champion_answer, blocks, count)
        challenger = metric_by_blocks(name, pairs.y, pairs.challenger, pairs.challenger_answer, blocks, count)
        if not np.isnan(challenger.value - champion.value):
            within = None
            if are_days and champion.of_rows is not None and challenger.of_rows is not None:
                within = error_within(challenger.of_rows - champion.of_rows, blocks, count)
            influences = challenger.influences - champion.influences
            error = StandardError.of(influences, rows, within, are_days=are_days)
            metrics[name] = difference_of(name, champion, challenger, error, tail)
    return metrics
