"""The verdict that a gate draws from a comparison: promote, reject, or wait for more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from driftline.base.number_format import format_number
from monitors.stats.promotion.differences import HIGHER_IS_BETTER, METRICS, MetricDifference
from monitors.stats.promotion.paired import PairedComparison, SegmentComparison

RELATIVE_MARGINS = frozenset({"mae", "rmse"})
MIN_SLOWDOWN_MS = 5.0
"""What nobody waits for: a p99 that grows by less is within its limit, however many times as long it is."""
_SELECTIVE = "Labels are selective ("
"""How the sentence begins after which a verdict has the reasons of its worst case."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a challenger has to show.

    `margins` are the losses still counted as "not worse": in the metric's own unit, for mae and rmse as a
    share of the champion's value; a metric without a margin is shown and not judged. Latency passes up to
    `p99_limit_ms` of the champion's p99.
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

    def judged(self, task: str) -> list[str]:
        """List the metrics of a task that decide: the objective, then those that have a margin."""
        of_other_tasks = HIGHER_IS_BETTER.keys() - set(METRICS[task])
        guards = [one for one in self.margins if one != self.objective and one not in of_other_tasks]
        return [self.objective, *guards]

    def p99_limit_ms(self, champion: float) -> float:
        """Return how long the challenger's p99 may be (ms): some times the champion's, a little longer, or the cap."""
        return max(self.p99_ratio * champion, champion + MIN_SLOWDOWN_MS, self.p99_cap_ms or 0.0)


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The gate's decision (`promote`, `reject` or `inconclusive`) and the sentences that explain it.

    `judged` are the metrics that decide: the objective, by which segments are judged too, then those with a margin.
    Others are shown. Verdicts of earlier releases lack it.
    """

    decision: str
    reasons: list[str]
    needs_person: bool = False
    judged: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MetricFinding:
    """What one metric says about the challenger; neither passed nor harmful is not known yet."""

    passed: bool
    harmful: bool
    sentence: str


def judge(comparison: PairedComparison, policy: GatePolicy) -> GateVerdict:
    """Decide whether the evidence promotes the challenger, rejects it, or has to grow.

    Promote: better than the champion beyond its interval on the objective, and no worse than a margin on the
    other metrics, p99 latency and every declared segment. Reject: worse beyond doubt, or not promoted when
    `max_labelled` pairs have been seen. Where labels are selective a promotion must survive the worst case;
    if it does not, a person decides.
    """
    return replace(_judge_labelled(comparison, policy), judged=policy.judged(comparison.task))


def _judge_labelled(comparison: PairedComparison, policy: GatePolicy) -> GateVerdict:
    verdict = _judge_pairs(comparison, comparison.metrics, policy)
    if verdict.decision != "promote" or comparison.worst_case is None:
        return verdict
    coverage = comparison.selective_labels.coverage
    worst = _judge_pairs(comparison, comparison.worst_case, policy)
    if worst.decision == "promote":
        kept = (
            f"{_SELECTIVE}{coverage:.1%} arrived, depending on the prediction); with every missing "
            "one at its worst for the challenger the verdict stays."
        )
        return GateVerdict("promote", [*verdict.reasons, kept])
    turned = (
        f"{_SELECTIVE}{coverage:.1%} arrived, depending on the prediction); with every missing one "
        "at its worst for the challenger it would not be promoted, so a person has to decide."
    )
    return GateVerdict("inconclusive", [*verdict.reasons, turned, *worst.reasons], needs_person=True)


def part_reasons(reasons: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part a verdict's reasons into those of the labelled pairs and those of the worst case, each of them once.

    Latency and segments are the same in both, and stay with the labelled pairs.
    """
    once = list(dict.fromkeys(reasons))
    turn = next((at for at, one in enumerate(once) if one.startswith(_SELECTIVE)), len(once))
    return once[:turn], once[turn:]


def _judge_pairs(
    comparison: PairedComparison, metrics: Mapping[str, MetricDifference], policy: GatePolicy
) -> GateVerdict:
    n = comparison.n_labelled
    if n < policy.min_labelled:
        return GateVerdict(
            "inconclusive", [f"{n} labelled pairs have arrived; the gate needs {policy.min_labelled}."]
        )
    findings = [
        *judge_metrics(metrics, policy, comparison.task),
        *judge_latency(
            comparison.latency_p99_ms_champion,
            comparison.latency_p99_ms_challenger,
            comparison.latency_p99_ms_challenger_at_least,
            policy,
        ),
        *(_judge_segment(segment, policy) for segment in comparison.segments),
    ]
    reasons = [finding.sentence for finding in findings]
    if any(finding.harmful for finding in findings):
        return GateVerdict("reject", reasons)
    if all(finding.passed for finding in findings):
        return GateVerdict("promote", reasons)
    if n >= policy.max_labelled:
        capped = f"{n} labelled pairs (the cap is {policy.max_labelled}) have not shown that it is better."
        return GateVerdict("reject", [*reasons, capped])
    return GateVerdict("inconclusive", reasons)


def judge_metrics(
    metrics: Mapping[str, MetricDifference], policy: GatePolicy, task: str
) -> list[MetricFinding]:
    """Judge the objective, then each other metric that has a margin, but those of other tasks.

    A metric that could not be computed neither passes nor harms: nothing is known of it.
    """
    objective, *guards = policy.judged(task)
    return [
        _judge_objective(metrics.get(objective), policy),
        *(
            judge_guard(metrics[name], policy.margins[name])
            if name in metrics
            else MetricFinding(False, False, f"The metric {name} cannot be computed on both sides.")
            for name in guards
        ),
    ]


def _judge_objective(metric: MetricDifference | None, policy: GatePolicy) -> MetricFinding:
    """Judge what has to become better: it passes beyond its interval only."""
    if metric is None:
        return MetricFinding(
            False, False, f"The objective {policy.objective} cannot be computed from these pairs."
        )
    low, high = metric.gain
    if low > 0:
        return MetricFinding(True, False, f"{_describe(metric)}: better beyond its interval.")
    if high < 0:
        return MetricFinding(False, True, f"{_describe(metric)}: worse beyond its interval.")
    return MetricFinding(False, False, f"{_describe(metric)}: the interval includes no difference.")


def judge_guard(metric: MetricDifference, margin: float) -> MetricFinding:
    """Judge what must not become worse than a margin, which the interval has to exclude."""
    unit = metric.champion if metric.metric in RELATIVE_MARGINS else 1.0
    low, high = metric.gain
    if low > -margin * unit:
        return MetricFinding(
            True, False, f"{_describe(metric)}: not worse than the margin of {format_number(margin * unit)}."
        )
    if high < -margin * unit:
        return MetricFinding(
            False, True, f"{_describe(metric)}: worse than the margin of {format_number(margin * unit)}."
        )
    return MetricFinding(
        False, False, f"{_describe(metric)}: may be worse than the margin of {format_number(margin * unit)}."
    )


def judge_latency(
    champion: float | None, challenger: float | None, at_least: float | None, policy: GatePolicy
) -> list[MetricFinding]:
    """Judge the challenger's p99 in ms, of which `at_least` is certain; nothing where one side's is not known."""
    if champion is None or challenger is None:
        return []
    limit, at_least = policy.p99_limit_ms(champion), challenger if at_least is None else at_least
    judged = "within" if challenger <= limit else "above"
    unsure = f", but too few requests were slow to be sure (it is at least {format_number(at_least)} ms)"
    measured = f"p99 latency {format_number(challenger)} ms against {format_number(champion)} ms"
    sentence = f"{measured}: {judged} the limit of {format_number(limit)} ms"
    return [
        MetricFinding(
            at_least <= limit, False, sentence + (unsure if at_least <= limit < challenger else "") + "."
        )
    ]


def _judge_segment(segment: SegmentComparison, policy: GatePolicy) -> MetricFinding:
    metric = segment.metrics.get(policy.objective)
    if metric is None or segment.n_labelled < policy.min_segment_labelled:
        few = f"Segment {segment.segment}: {segment.n_labelled} labelled pairs are too few to judge."
        return MetricFinding(True, False, few)
    harmed = metric.gain[1] < 0
    outcome = "worse beyond its interval." if harmed else "no significant harm."
    return MetricFinding(not harmed, False, f"Segment {segment.segment}: {_describe(metric)}: {outcome}")


def _describe(metric: MetricDifference) -> str:
    return (
        f"{metric.metric} {format_number(metric.challenger, 4)} against {format_number(metric.champion, 4)}, "
        f"a difference of {metric.difference:+.4f} ({metric.lower:+.4f} to {metric.upper:+.4f})"
    )
