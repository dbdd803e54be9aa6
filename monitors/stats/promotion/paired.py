"""Champion against challenger on the same requests: all paired evidence.

Pass ripe pairs only: a pair whose label is merely late must not look like one whose label never comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import lgamma, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitors.stats.promotion.differences import MIN_BLOCKS, MetricDifference
from monitors.stats.promotion.latency import slowest_answers
from monitors.stats.promotion.pairs import Pairs, paired_metrics, read_pairs
from monitors.stats.promotion.selective_labels import SelectiveLabels, find_selective_labels, worst_case
from monitors.stats.promotion.sequential import Looks, tail_at


@dataclass(frozen=True, slots=True)
class SegmentComparison:
    """The metrics on the labelled pairs of one declared segment, at the segments' joint confidence."""

    segment: str
    n_labelled: int
    metrics: dict[str, MetricDifference]


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """All paired evidence between a champion and a challenger.

    `disagreement` is the share of pairs (labelled or not) whose answers differ (regression: differ by more
    than a tenth of the champion's standard deviation). `mcnemar_e_value` may be looked at after every pair:
    above 1 / alpha it refutes "both err equally often". `worst_case` repeats the metrics with every missing
    label at its worst for the challenger; it is present where labels are selective. Intervals come from `judged_by`:
    whole days, or stretches of rows where there are few days. `latency_p99_ms_challenger_at_least` is what
    the challenger's p99 is for certain, as `SlowestAnswers` says; comparisons of earlier releases lack it.
    """

    task: str
    n_pairs: int
    n_labelled: int
    n_blocks: int
    judged_by: str
    confidence: float
    metrics: dict[str, MetricDifference]
    segments: list[SegmentComparison]
    disagreement: float
    only_champion_right: int | None
    only_challenger_right: int | None
    mcnemar_e_value: float | None
    latency_p99_ms_champion: float | None
    latency_p99_ms_challenger: float | None
    selective_labels: SelectiveLabels
    worst_case: dict[str, MetricDifference] | None
    latency_p99_ms_challenger_at_least: float | None = None


def compare_pairs(
    *,
    task: str,
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    block: ArrayLike,
    champion_answer: ArrayLike | None = None,
    challenger_answer: ArrayLike | None = None,
    champion_latency_ms: ArrayLike | None = None,
    challenger_latency_ms: ArrayLike | None = None,
    requests: ArrayLike | None = None,
    segments: Mapping[str, NDArray[np.bool_]] | None = None,
    confidence: float = 0.95,
    looks: Looks | None = None,
) -> PairedComparison:
    """Compare two versions on the requests that both answered.

    `y` is the label per pair, NaN where none arrived: 0 or 1 (binary), the class's position (multiclass) or
    the value. `champion` and `challenger` are the probability of the positive class, a row of class
    probabilities, or the predicted value. Answers are classes in the coding of `y`; without them the class
    from 0.5 on (or the most probable) counts. `requests` numbers the request of each pair. `block` numbers the event
    day; pairs are best in the order of time, as below five days stretches of them are blocks (without an order these
    are groups at random).
    `segments` are masks over all pairs. The intervals hold with `confidence` at this look, or at all `looks` together.
    """
    pairs = read_pairs(task, y, champion, challenger, champion_answer, challenger_answer, block)
    labelled = ~np.isnan(pairs.y)
    known = pairs[labelled]
    blocks = np.unique(known.block).size
    selective = find_selective_labels(pairs, labelled)
    only_champion, only_challenger = _discordant(known)
    chosen_segments = dict(segments or {})
    tail = tail_at(known.y.size, confidence, looks)
    champion_latency, challenger_latency = (
        slowest_answers(latency_ms, requests) for latency_ms in (champion_latency_ms, challenger_latency_ms)
    )
    return PairedComparison(
        task=task,
        n_pairs=pairs.y.size,
        n_labelled=int(labelled.sum()),
        n_blocks=blocks,
        judged_by="days" if blocks >= MIN_BLOCKS else "stretches",
        confidence=confidence,
        metrics=paired_metrics(known, tail=tail),
        segments=[
            SegmentComparison(
                name,
                int((mask & labelled).sum()),
                # Bonferroni: all segments' intervals hold together.
                paired_metrics(
                    pairs[np.asarray(mask, dtype=bool) & labelled],
                    tail=tail_at(known.y.size, 1 - (1 - confidence) / len(chosen_segments), looks),
                ),
            )
            for name, mask in chosen_segments.items()
        ],
        disagreement=_disagreement(pairs),
        only_champion_right=only_champion,
        only_challenger_right=only_challenger,
        mcnemar_e_value=None if only_champion is None or only_challenger is None
        else mcnemar_e_value(only_champion, only_challenger),
        latency_p99_ms_champion=champion_latency.p99_ms,
        latency_p99_ms_challenger=challenger_latency.p99_ms,
        latency_p99_ms_challenger_at_least=challenger_latency.at_least_ms,
        selective_labels=selective,
        worst_case=worst_case(pairs, labelled, tail=tail) if selective.found else None,
    )  # fmt: skip


def mcnemar_e_value(only_champion_right: int, only_challenger_right: int) -> float:
    """Weigh the evidence that two versions do not err equally often: 2^n / ((n + 1) C(n, b)), n = b + c.

    Anytime-valid: under equal error rates it exceeds 1 / alpha at any look with probability below alpha
    (uniform mixture over the Bernoulli alternative; Ville's inequality).

    >>> mcnemar_e_value(0, 10) > 20
    True
    """
    n = only_champion_right + only_challenger_right
    log_choose = lgamma(n + 1) - lgamma(only_champion_right + 1) - lgamma(only_challenger_right + 1)
    return float(np.exp(min(n * log(2) - log(n + 1) - log_choose, 700.0)))


def _discordant(pairs: Pairs) -> tuple[int | None, int | None]:
    if pairs.task == "regression":
        return None, None
    champion_right, challenger_right = pairs.champion_answer == pairs.y, pairs.challenger_answer == pairs.y
    return int((champion_right & ~challenger_right).sum()), int((challenger_right & ~champion_right).sum())


def _disagreement(pairs: Pairs) -> float:
    if not pairs.y.size:
        return 0.0
    gap = np.abs(pairs.champion_answer - pairs.challenger_answer)
    tolerance = 0.1 * float(pairs.champion_answer.std()) if pairs.task == "regression" else 0.0
    return float((gap > tolerance).mean())
