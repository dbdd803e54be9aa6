"""Champion against canary, each on the requests that it answered: evidence where no request was answered by both.

The canary's share is drawn by key, so both sides see like traffic, and the difference of their metrics is a fair
estimate. It is a blurred one beside that of pairs: the requests differ too, so many more are needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitors.stats.mergeable.sketches import FloatArray
from monitors.stats.promotion.differences import (
    METRICS,
    MIN_BLOCKS,
    MetricDifference,
    blocks_of,
    difference_of,
    metric_by_blocks,
)
from monitors.stats.promotion.gate import GatePolicy, GateVerdict, MetricFinding, judge_latency, judge_metrics
from monitors.stats.promotion.latency import slowest_answers
from monitors.stats.promotion.standard_errors import StandardError

FAILS_MORE_P_VALUE = 0.001


@dataclass(frozen=True, eq=False, slots=True)
class Answered:
    """The rows that one side answered, coded as `compare_pairs` takes them, and how its requests ended.

    `block` numbers the event day, and `request` the request of each row; `y` is NaN where no label came.
    """

    y: FloatArray
    score: FloatArray
    answer: FloatArray
    block: NDArray[np.int64]
    latency_ms: FloatArray
    request: NDArray[np.int64]
    requests: int
    failed: int


@dataclass(frozen=True, slots=True)
class UnpairedSide:
    """What one side did; latencies are None where none was logged."""

    rows: int
    labelled: int
    requests: int
    failed: int
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    latency_p99_ms_at_least: float | None


@dataclass(frozen=True, slots=True)
class UnpairedComparison:
    """The unpaired evidence; `metrics` hold challenger minus champion as paired ones do, on different requests."""

    task: str
    champion: UnpairedSide
    challenger: UnpairedSide
    n_blocks: int
    judged_by: str
    confidence: float
    metrics: dict[str, MetricDifference]


def compare_sides(
    *,
    task: str,
    champion: Answered,
    challenger: Answered,
    confidence: float = 0.95,
) -> UnpairedComparison:
    """Compare what two versions answered, each its own requests of the same days.

    Where both have labels on five days or more, their difference is judged by days, so that what a day does to both
    sides leaves it; else by stretches of each side's rows.
    """
    known = [~np.isnan(side.y) for side in (champion, challenger)]
    shared = np.intersect1d(champion.block[known[0]], challenger.block[known[1]])
    by_days = shared.size >= MIN_BLOCKS
    sides = [
        _Known(side.y[mask], side.score[mask], side.answer[mask], side.block[mask])
        for side, mask in zip((champion, challenger), known, strict=True)
    ]
    if by_days:
        sides = [side.on(shared) for side in sides]
    return UnpairedComparison(
        task, _side(champion), _side(challenger), shared.size, "days" if by_days else "stretches", confidence,
        _metrics(task, sides, (1 - confidence) / 2, by_days=by_days),
    )  # fmt: skip


@dataclass(frozen=True, eq=False, slots=True)
class _Known:
    """The labelled rows of one side."""

    y: FloatArray
    score: FloatArray
    answer: FloatArray
    block: NDArray[np.int64]

    def on(self, days: NDArray[np.int64]) -> "_Known":
        kept = np.isin(self.block, days)
        return _Known(self.y[kept], self.score[kept], self.answer[kept], self.block[kept])


def _metrics(
    task: str, sides: Sequence[_Known], tail: float, *, by_days: bool
) -> dict[str, MetricDifference]:
    if not all(side.y.size for side in sides):
        return {}
    blocks = [blocks_of(side.block if by_days else np.zeros_like(side.block)) for side in sides]
    rows = [np.bincount(numbered, minlength=count) for numbered, count in blocks]
    found = {}
    for name in METRICS[task]:
        champion, challenger = (
            metric_by_blocks(name, side.y, side.score, side.answer, *how)
            for side, how in zip(sides, blocks, strict=True)
        )
        if np.isnan(challenger.value - champion.value):
            continue
        if by_days:
            smaller = np.minimum(*rows)
            error = StandardError.of(challenger.influences - champion.influences, smaller, are_days=True)
        else:
            errors = [
                StandardError.of(side.influences, of_side)
                for side, of_side in zip((champion, challenger), rows, strict=True)
            ]
            error = errors[0].beside(errors[1])
        found[name] = difference_of(name, champion, challenger, error, tail)
    return found


def _side(answered: Answered) -> UnpairedSide:
    slowest = slowest_answers(answered.latency_ms, answered.request)
    return UnpairedSide(
        rows=answered.y.size,
        labelled=int((~np.isnan(answered.y)).sum()),
        requests=answered.requests,
        failed=answered.failed,
        latency_p50_ms=float(np.nanmedian(answered.latency_ms)) if slowest.p99_ms is not None else None,
        latency_p99_ms=slowest.p99_ms,
        latency_p99_ms_at_least=slowest.at_least_ms,
    )


def judge_sides(comparison: UnpairedComparison, policy: GatePolicy, *, is_mismatch: bool) -> GateVerdict:
    """Decide as the gate does, but on different requests, so that a promotion always needs a person.

    `is_mismatch` says that the traffic is not split as it should be: then nothing about the versions follows.
    """
    return replace(
        _judge_sides(comparison, policy, is_mismatch=is_mismatch), judged=policy.judged(comparison.task)
    )


def _judge_sides(comparison: UnpairedComparison, policy: GatePolicy, *, is_mismatch: bool) -> GateVerdict:
    if is_mismatch:
        return GateVerdict(
            "inconclusive", ["The traffic is not split as the canary's share says, so the sides differ."]
        )
    failures = _judge_failures(comparison.champion, comparison.challenger)
    labelled = comparison.challenger.labelled
    if labelled < policy.min_labelled and not failures.harmful:
        few = f"{labelled:,} predictions of the canary have a label that had time to come"
        return GateVerdict(
            "inconclusive", [f"{few}; the gate needs {policy.min_labelled:,}.", failures.sentence]
        )
    findings = [*judge_metrics(comparison.metrics, policy, comparison.task), failures]
    findings += judge_latency(
        comparison.champion.latency_p99_ms,
        comparison.challenger.latency_p99_ms,
        comparison.challenger.latency_p99_ms_at_least,
        policy,
    )
    reasons = [finding.sentence for finding in findings]
    if any(finding.harmful for finding in findings):
        return GateVerdict("reject", reasons)
    if all(finding.passed for finding in findings):
        return GateVerdict("promote", reasons, needs_person=True)
    return GateVerdict("inconclusive", reasons)


def _judge_failures(champion: UnpairedSide, challenger: UnpairedSide) -> MetricFinding:
    """Compare the shares of unanswered requests by Fisher's exact test, one-sided."""
    if not (champion.requests and challenger.requests):
        return MetricFinding(True, False, "Requests that were not answered were not counted on both sides.")
    from scipy.stats import fisher_exact  # as long to load as all else that a process needs

    answered = [side.requests - side.failed for side in (challenger, champion)]
    table = [[challenger.failed, answered[0]], [champion.failed, answered[1]]]
    p_value = float(fisher_exact(table, alternative="greater").pvalue)
    measured = (
        f"{challenger.failed / challenger.requests:.2%} of the canary's requests were not answered, "
        f"{champion.failed / champion.requests:.2%} of the champion's"
    )
    if p_value < FAILS_MORE_P_VALUE:
        return MetricFinding(False, True, f"{measured}: the canary fails more often (p = {p_value:.2g}).")
    return MetricFinding(True, False, f"{measured}: no clear difference.")
