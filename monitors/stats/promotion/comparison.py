"""Champion against challenger on the same requests: paired evidence, and the verdict a gate draws from it.

Requests of one day resemble each other, so intervals come from resampling whole blocks (event days), never
single rows. Every metric is written as a function of sums over blocks (for ROC AUC: of won positive-negative
pairs between every two blocks), so a thousand bootstrap draws are one matrix product.

Pass ripe pairs only: a pair whose label is merely late must not look like one whose label never comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import lgamma, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitors.stats.mergeable.outcomes import PROBABILITY_EPS
from monitors.stats.mergeable.sketches import FloatArray

HIGHER_IS_BETTER = {
    "roc_auc": True, "accuracy": True, "log_loss": False, "brier": False, "mae": False, "rmse": False,
}  # fmt: skip
METRICS = {
    "binary": ("roc_auc", "log_loss", "accuracy", "brier"),
    "multiclass": ("log_loss", "accuracy", "brier"),
    "regression": ("mae", "rmse"),
}
RELATIVE_MARGINS = frozenset({"mae", "rmse"})

FEWEST_BLOCKS = 5
ROW_BLOCKS = 200


class UnusablePairs(ValueError):
    """The pairs' arrays do not fit together or do not fit the task."""


@dataclass(frozen=True, slots=True)
class PairedMetric:
    """One metric on the labelled pairs; `lower` and `upper` bound `difference`, challenger minus champion."""

    metric: str
    higher_is_better: bool
    champion: float
    challenger: float
    difference: float
    lower: float
    upper: float

    @property
    def gain(self) -> tuple[float, float]:
        """The bounds of the challenger's advantage: positive is better, whatever the metric's direction."""
        return (self.lower, self.upper) if self.higher_is_better else (-self.upper, -self.lower)


@dataclass(frozen=True, slots=True)
class SegmentComparison:
    """The metrics on the labelled pairs of one declared segment, at the segments' joint confidence."""

    segment: str
    n_labelled: int
    metrics: dict[str, PairedMetric]


@dataclass(frozen=True, slots=True)
class SelectiveLabels:
    """Whether the chance that a label arrives depends on what was predicted.

    `coverage_by_answer` is the share of labelled pairs from the lowest to the highest fifth of the
    champion's scores (multiclass: by its class); `p_value` is chi-square's.
    """

    coverage: float
    coverage_by_answer: list[float]
    p_value: float
    found: bool


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """All paired evidence between a champion and a challenger.

    `disagreement` is the share of pairs (labelled or not) whose answers differ (regression: differ by more
    than a tenth of the champion's standard deviation). `mcnemar_e_value` may be looked at after every pair:
    above 1 / alpha it refutes "both err equally often". `worst_case` repeats the metrics with every missing
    label at its worst for the challenger; it is present where labels are selective.
    """

    task: str
    n_pairs: int
    n_labelled: int
    n_blocks: int
    resampled: str
    confidence: float
    metrics: dict[str, PairedMetric]
    segments: list[SegmentComparison]
    disagreement: float
    only_champion_right: int | None
    only_challenger_right: int | None
    mcnemar_e_value: float | None
    latency_p99_ms_champion: float | None
    latency_p99_ms_challenger: float | None
    selective_labels: SelectiveLabels
    worst_case: dict[str, PairedMetric] | None


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a challenger has to show.

    `margins` are the losses still counted as "not worse": in the metric's own unit, for mae and rmse as a
    share of the champion's value; a metric without a margin is shown and not judged. Latency passes within
    `p99_ratio` of the champion's p99, or below `p99_cap_ms`.
    """

    objective: str
    margins: Mapping[str, float] = field(
        default_factory=lambda: {
            "roc_auc": 0.01,
            "log_loss": 0.01,
            "accuracy": 0.02,
            "mae": 0.02,
            "rmse": 0.02,
        }
    )
    min_labelled: int = 500
    max_labelled: int = 5_000
    min_segment_labelled: int = 100
    p99_ratio: float = 1.5
    p99_cap_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's decision (`promote`, `reject` or `inconclusive`) and the sentences that explain it."""

    decision: str
    reasons: list[str]
    needs_person: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class _Pairs:
    """Pairs as arrays: scores are (n,) for binary and regression, (n, classes) for multiclass."""

    task: str
    y: FloatArray
    champion: FloatArray
    challenger: FloatArray
    champion_answer: FloatArray
    challenger_answer: FloatArray
    block: NDArray[np.int64]

    def __getitem__(self, chosen: NDArray[np.bool_]) -> _Pairs:
        return _Pairs(
            self.task, self.y[chosen], self.champion[chosen], self.challenger[chosen],
            self.champion_answer[chosen], self.challenger_answer[chosen], self.block[chosen],
        )  # fmt: skip


def compare_pairs(
    *,
    task: str,
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    block: ArrayLike,
    rng: np.random.Generator,
    champion_answer: ArrayLike | None = None,
    challenger_answer: ArrayLike | None = None,
    champion_latency_ms: ArrayLike | None = None,
    challenger_latency_ms: ArrayLike | None = None,
    segments: Mapping[str, NDArray[np.bool_]] | None = None,
    confidence: float = 0.95,
    draws: int = 1_000,
) -> PairedComparison:
    """Compare two versions on the requests that both answered.

    `y` is the label per pair, NaN where none arrived: 0 or 1 (binary), the class's position (multiclass) or
    the value. `champion` and `challenger` are the probability of the positive class, a row of class
    probabilities, or the predicted value. Answers are classes in the coding of `y`; without them the class
    above 0.5 (or the most probable) counts. `block` numbers the event day. `segments` are masks over all
    pairs.
    """
    pairs = _read_pairs(task, y, champion, challenger, champion_answer, challenger_answer, block)
    labelled = ~np.isnan(pairs.y)
    known = pairs[labelled]
    blocks = np.unique(known.block).size
    selective = _find_selective_labels(pairs, labelled)
    only_champion, only_challenger = _discordant(known)
    chosen_segments = dict(segments or {})
    return PairedComparison(
        task=task,
        n_pairs=pairs.y.size,
        n_labelled=int(labelled.sum()),
        n_blocks=blocks,
        resampled="blocks" if blocks >= FEWEST_BLOCKS else "rows",
        confidence=confidence,
        metrics=_paired_metrics(known, rng=rng, confidence=confidence, draws=draws),
        segments=[
            SegmentComparison(
                name,
                int((mask & labelled).sum()),
                # Bonferroni: all segments' intervals hold together.
                _paired_metrics(
                    pairs[np.asarray(mask, dtype=bool) & labelled], rng=rng, draws=draws,
                    confidence=1 - (1 - confidence) / len(chosen_segments),
                ),
            )
            for name, mask in chosen_segments.items()
        ],
        disagreement=_disagreement(pairs),
        only_champion_right=only_champion,
        only_challenger_right=only_challenger,
        mcnemar_e_value=None if only_champion is None or only_challenger is None
        else mcnemar_e_value(only_champion, only_challenger),
        latency_p99_ms_champion=p99_of(champion_latency_ms),
        latency_p99_ms_challenger=p99_of(challenger_latency_ms),
        selective_labels=selective,
        worst_case=_worst_case(pairs, labelled, rng=rng, confidence=confidence, draws=draws)
        if selective.found else None,
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


def _read_pairs(
    task: str,
    y: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    champion_answer: ArrayLike | None,
    challenger_answer: ArrayLike | None,
    block: ArrayLike,
) -> _Pairs:
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
    return _Pairs(task, labels, scores[0], scores[1], answers[0], answers[1], blocks)


def answers_of(task: str, score: FloatArray) -> FloatArray:
    if task == "binary":
        return (score >= 0.5).astype(np.float64)
    return score.argmax(axis=1).astype(np.float64) if task == "multiclass" else score


def _paired_metrics(
    pairs: _Pairs,
    *,
    rng: np.random.Generator,
    confidence: float,
    draws: int,
    names: Sequence[str] | None = None,
) -> dict[str, PairedMetric]:
    if not pairs.y.size:
        return {}
    blocks, count = resampling_blocks(pairs.block, rng)
    weights = draw_weights(count, draws, rng)
    metrics = {}
    for name in names or METRICS[pairs.task]:
        champion = metric_draws(name, pairs.y, pairs.champion, pairs.champion_answer, blocks, weights)
        challenger = metric_draws(name, pairs.y, pairs.challenger, pairs.challenger_answer, blocks, weights)
        if not np.isnan(challenger[0] - champion[0]):
            metrics[name] = difference_of(name, champion, challenger, confidence)
    return metrics


def difference_of(name: str, champion: FloatArray, challenger: FloatArray, confidence: float) -> PairedMetric:
    """Bound the difference by the quantiles of its draws; the first of each is the observed value."""
    differences = challenger - champion
    tail = (1 - confidence) / 2
    lower, upper = np.nanquantile(differences[1:], [tail, 1 - tail])
    return PairedMetric(
        name, HIGHER_IS_BETTER[name], float(champion[0]), float(challenger[0]), float(differences[0]),
        float(lower), float(upper),
    )  # fmt: skip


def draw_weights(count: int, draws: int, rng: np.random.Generator) -> FloatArray:
    """Weigh every block once in the first row, which gives the observed value; the others are bootstrap draws."""
    return np.vstack([np.ones(count), rng.multinomial(count, np.full(count, 1 / count), size=draws)])


def resampling_blocks(block: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], int]:
    """Number the blocks from 0; below five blocks resample (groups of) rows instead, dealt out at random."""
    days, numbered = np.unique(block, return_inverse=True)
    if days.size >= FEWEST_BLOCKS:
        return numbered, days.size
    count = min(block.size, ROW_BLOCKS)
    return rng.permutation(block.size) % count, count


def metric_draws(
    name: str,
    y: FloatArray,
    score: FloatArray,
    answer: FloatArray,
    blocks: NDArray[np.int64],
    weights: FloatArray,
) -> FloatArray:
    """The metric under each row of block weights; NaN where a draw holds a single class."""
    count = weights.shape[1]
    if name == "roc_auc":
        return _auc(y > 0.5, score, blocks, weights)
    losses = _LOSSES[name](y, score, answer)
    sums, rows = np.bincount(blocks, weights=losses, minlength=count), np.bincount(blocks, minlength=count)
    mean = (weights @ sums) / (weights @ rows)
    return np.sqrt(mean) if name == "rmse" else mean


def _own(y: FloatArray, score: FloatArray) -> FloatArray:
    """The probability given to the true class."""
    if score.ndim == 2:
        return score[np.arange(y.size), y.astype(np.int64)]
    return np.where(y > 0.5, score, 1 - score)


def _log_loss(y: FloatArray, score: FloatArray, answer: FloatArray) -> FloatArray:
    return -np.log(np.clip(_own(y, score), PROBABILITY_EPS, 1 - PROBABILITY_EPS))


def _brier(y: FloatArray, score: FloatArray, answer: FloatArray) -> FloatArray:
    if score.ndim == 2:
        own = _own(y, score)
        return (score**2).sum(axis=1) - 2 * own + 1
    return (score - y) ** 2


_LOSSES: dict[str, Callable[[FloatArray, FloatArray, FloatArray], FloatArray]] = {
    "log_loss": _log_loss,
    "brier": _brier,
    "accuracy": lambda y, score, answer: (answer == y).astype(np.float64),
    "mae": lambda y, score, answer: np.abs(score - y),
    "rmse": lambda y, score, answer: (score - y) ** 2,
}


def _auc(
    positive: NDArray[np.bool_], score: FloatArray, blocks: NDArray[np.int64], weights: FloatArray
) -> FloatArray:
    count = weights.shape[1]
    won = _pairs_won(positive, score, blocks, count)
    positives = weights @ np.bincount(blocks[positive], minlength=count)
    negatives = weights @ np.bincount(blocks[~positive], minlength=count)
    wins = np.einsum("da,da->d", weights @ won, weights)
    possible = positives * negatives
    auc: FloatArray = np.divide(wins, possible, out=np.full(wins.shape, np.nan), where=possible > 0)
    return auc


def _pairs_won(
    positive: NDArray[np.bool_], score: FloatArray, blocks: NDArray[np.int64], count: int
) -> FloatArray:
    """Count the rightly ranked pairs of each block's positives with each block's negatives; a tie is half."""
    ranked, own_blocks = score[positive], blocks[positive]
    won = np.zeros((count, count))
    for block in range(count):
        negatives = np.sort(score[~positive & (blocks == block)])
        if negatives.size:
            below = np.searchsorted(negatives, ranked, side="left")
            up_to = np.searchsorted(negatives, ranked, side="right")
            won[:, block] = np.bincount(own_blocks, weights=(below + up_to) / 2, minlength=count)
    return won


def _discordant(pairs: _Pairs) -> tuple[int | None, int | None]:
    if pairs.task == "regression":
        return None, None
    champion_right, challenger_right = pairs.champion_answer == pairs.y, pairs.challenger_answer == pairs.y
    return int((champion_right & ~challenger_right).sum()), int((challenger_right & ~champion_right).sum())


def _disagreement(pairs: _Pairs) -> float:
    if not pairs.y.size:
        return 0.0
    gap = np.abs(pairs.champion_answer - pairs.challenger_answer)
    tolerance = 0.1 * float(pairs.champion_answer.std()) if pairs.task == "regression" else 0.0
    return float((gap > tolerance).mean())


def p99_of(latency_ms: ArrayLike | None) -> float | None:
    values = np.asarray([] if latency_ms is None else latency_ms, dtype=np.float64)
    values = values[~np.isnan(values)]
    return float(np.quantile(values, 0.99)) if values.size else None


def _find_selective_labels(pairs: _Pairs, labelled: NDArray[np.bool_]) -> SelectiveLabels:
    """Test whether coverage depends on the champion's answer: significant (p < 0.01) and two points apart."""
    coverage = float(labelled.mean()) if labelled.size else 0.0
    if labelled.all() or not labelled.any():
        return SelectiveLabels(coverage, [], 1.0, found=False)
    if pairs.task == "multiclass":
        _, group = np.unique(pairs.champion_answer, return_inverse=True)
    else:
        fifths = np.quantile(pairs.champion, [0.2, 0.4, 0.6, 0.8])
        _, group = np.unique(np.searchsorted(fifths, pairs.champion), return_inverse=True)
    with_label, rows = np.bincount(group, weights=labelled), np.bincount(group)
    shares = with_label / rows
    if shares.size < 2:
        return SelectiveLabels(coverage, shares.tolist(), 1.0, found=False)
    from scipy.stats import chi2_contingency  # as long to load as all else that a process needs

    table = np.array([with_label, rows - with_label])
    p_value = float(chi2_contingency(table, correction=False).pvalue)
    found = p_value < 0.01 and float(np.ptp(shares)) >= 0.02
    return SelectiveLabels(coverage, shares.tolist(), p_value, found)


def _worst_case(
    pairs: _Pairs, labelled: NDArray[np.bool_], *, rng: np.random.Generator, confidence: float, draws: int
) -> dict[str, PairedMetric]:
    """The metrics with every missing label at the value that is worst for the challenger on that metric."""
    worst: dict[str, PairedMetric] = {}
    for name in METRICS[pairs.task]:
        y = np.where(labelled, pairs.y, _worst_labels(name, pairs, labelled))
        worst |= _paired_metrics(
            replace(pairs, y=y), rng=rng, confidence=confidence, draws=draws, names=(name,)
        )
    return worst


def _ranks(score: FloatArray) -> FloatArray:
    """Number the scores from the lowest; those that tie share the mean of their places."""
    ordered = np.sort(score)
    return (np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / 2


def _worst_labels(metric: str, pairs: _Pairs, labelled: NDArray[np.bool_]) -> FloatArray:
    if metric == "accuracy":
        return pairs.champion_answer
    if metric == "roc_auc":
        # Only the order of scores counts: whom the challenger ranks lower is a positive.
        lower = _ranks(pairs.challenger) < _ranks(pairs.champion)
        return lower.astype(np.float64)
    if pairs.task == "binary":
        return (pairs.challenger < pairs.champion).astype(np.float64)
    if pairs.task == "multiclass":
        champion, challenger = (np.clip(p, PROBABILITY_EPS, 1) for p in (pairs.champion, pairs.challenger))
        return np.argmax(np.log(champion / challenger), axis=1).astype(np.float64)
    seen = pairs.y[labelled]
    return np.where(pairs.challenger > pairs.champion, seen.min(), seen.max())


@dataclass(frozen=True, slots=True)
class Finding:
    """What one metric says about the challenger; neither passed nor harmful is not known yet."""

    passed: bool
    harmful: bool
    sentence: str


def judge(comparison: PairedComparison, policy: GatePolicy) -> Verdict:
    """Decide whether the evidence promotes the challenger, rejects it, or has to grow.

    Promote: better than the champion beyond its interval on the objective, and no worse than a margin on the
    other metrics, p99 latency and every declared segment. Reject: worse beyond doubt, or not promoted when
    `max_labelled` pairs have been seen. Where labels are selective a promotion must survive the worst case;
    if it does not, a person decides.
    """
    verdict = _judge_metrics(comparison, comparison.metrics, policy)
    if verdict.decision != "promote" or comparison.worst_case is None:
        return verdict
    coverage = comparison.selective_labels.coverage
    worst = _judge_metrics(comparison, comparison.worst_case, policy)
    if worst.decision == "promote":
        kept = (
            f"Labels are selective ({coverage:.1%} arrived, depending on the prediction); with every missing "
            "one at its worst for the challenger the verdict stays."
        )
        return Verdict("promote", [*verdict.reasons, kept])
    turned = (
        f"Labels are selective ({coverage:.1%} arrived, depending on the prediction); with every missing one "
        "at its worst for the challenger it would not be promoted, so a person has to decide."
    )
    return Verdict("inconclusive", [*verdict.reasons, turned, *worst.reasons], needs_person=True)


def _judge_metrics(
    comparison: PairedComparison, metrics: Mapping[str, PairedMetric], policy: GatePolicy
) -> Verdict:
    n = comparison.n_labelled
    if n < policy.min_labelled:
        return Verdict(
            "inconclusive", [f"{n} labelled pairs have arrived; the gate needs {policy.min_labelled}."]
        )
    findings = [
        judge_objective(metrics.get(policy.objective), policy),
        *(
            judge_guard(metrics[name], margin)
            for name, margin in policy.margins.items()
            if name in metrics and name != policy.objective
        ),
        *judge_latency(comparison.latency_p99_ms_champion, comparison.latency_p99_ms_challenger, policy),
        *(_judge_segment(segment, policy) for segment in comparison.segments),
    ]
    reasons = [finding.sentence for finding in findings]
    if any(finding.harmful for finding in findings):
        return Verdict("reject", reasons)
    if all(finding.passed for finding in findings):
        return Verdict("promote", reasons)
    if n >= policy.max_labelled:
        capped = f"{n} labelled pairs (the cap is {policy.max_labelled}) have not shown that it is better."
        return Verdict("reject", [*reasons, capped])
    return Verdict("inconclusive", reasons)


def judge_objective(metric: PairedMetric | None, policy: GatePolicy) -> Finding:
    if metric is None:
        return Finding(False, False, f"The objective {policy.objective} cannot be computed from these pairs.")
    low, high = metric.gain
    if low > 0:
        return Finding(True, False, f"{_describe(metric)}: better beyond its interval.")
    if high < 0:
        return Finding(False, True, f"{_describe(metric)}: worse beyond its interval.")
    return Finding(False, False, f"{_describe(metric)}: the interval includes no difference.")


def judge_guard(metric: PairedMetric, margin: float) -> Finding:
    unit = metric.champion if metric.metric in RELATIVE_MARGINS else 1.0
    low, high = metric.gain
    if low > -margin * unit:
        return Finding(True, False, f"{_describe(metric)}: not worse than the margin of {margin * unit:.3g}.")
    if high < -margin * unit:
        return Finding(False, True, f"{_describe(metric)}: worse than the margin of {margin * unit:.3g}.")
    return Finding(False, False, f"{_describe(metric)}: may be worse than the margin of {margin * unit:.3g}.")


def judge_latency(champion: float | None, challenger: float | None, policy: GatePolicy) -> list[Finding]:
    """Judge the challenger's p99 in ms; nothing where one of the two is not known."""
    if champion is None or challenger is None:
        return []
    within_cap = policy.p99_cap_ms is not None and challenger <= policy.p99_cap_ms
    passed = within_cap or challenger <= policy.p99_ratio * champion
    allowed = f"{policy.p99_ratio:g} times the champion's"
    if policy.p99_cap_ms is not None:
        allowed += f" or {policy.p99_cap_ms:g} ms"
    judged = "within" if passed else "above"
    sentence = f"p99 latency {challenger:.3g} ms against {champion:.3g} ms: {judged} {allowed}."
    return [Finding(passed, False, sentence)]


def _judge_segment(segment: SegmentComparison, policy: GatePolicy) -> Finding:
    metric = segment.metrics.get(policy.objective)
    if metric is None or segment.n_labelled < policy.min_segment_labelled:
        few = f"Segment {segment.segment}: {segment.n_labelled} labelled pairs are too few to judge."
        return Finding(True, False, few)
    harmed = metric.gain[1] < 0
    outcome = "worse beyond its interval." if harmed else "no significant harm."
    return Finding(not harmed, False, f"Segment {segment.segment}: {_describe(metric)}: {outcome}")


def _describe(metric: PairedMetric) -> str:
    return (
        f"{metric.metric} {metric.challenger:.4g} against {metric.champion:.4g}, a difference of "
        f"{metric.difference:+.4f} ({metric.lower:+.4f} to {metric.upper:+.4f})"
    )
