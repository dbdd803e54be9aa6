"""The guards of a rollout: what each says about a step, with the number that it judged and its limit.

The chances below add up to one of a hundred challengers that do no harm, over all guards, steps and looks. That holds
up to `observations.MAX_ROWS` rows a step: of a longer one the guards of rows see the newest, and each such window may
err anew. And it holds for about one request a key, as the guards count requests and rows: where few keys send most
requests, which side they fall to is chance, and harmless challengers are stopped more often.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from driftline.base.number_format import format_number
from inference.registry.models import Model, RowsKept
from monitors.stats.promotion.gate import GatePolicy, judge_metrics
from monitors.stats.promotion.guards import (
    Distance,
    Events,
    chance_at_look,
    distance_of_scores,
    distance_of_shares,
    log_evidence_of_mismatch,
    log_evidence_of_more,
)
from monitors.stats.promotion.unpaired import UnpairedComparison
from monitors.workflows.models import Rollout
from monitors.workflows.rollouts.observations import Observed
from monitors.workflows.rollouts.plan import Guard

CHANCES = {
    Guard.FAILURES: 0.004,
    Guard.NOT_FINITE: 0.001,
    Guard.LATENCY: 0.001,
    Guard.CLASS_SHARES: 0.001,
    Guard.SCORES: 0.001,
    Guard.SPLIT: 0.001,
    Guard.QUALITY: 0.001,
}
"""How likely each guard stops a challenger that does no harm."""
OF_ONE_STEP = (Guard.NOT_FINITE, Guard.LATENCY, Guard.SPLIT)
"""They begin anew with each step, which has its part of their chance."""
OF_ROWS = (Guard.NOT_FINITE, Guard.LATENCY, Guard.CLASS_SHARES, Guard.SCORES)
DOUBT = 10.0
"""Evidence from which on a guard is not sure: one in ten harmless challengers shows as much at some time."""
MIN_ROWS = 100
"""Of each side, before rows are compared."""
BURST = 20
"""Requests that follow each other wait together where the machine stalls, so that many count once for the latency."""
MAX_SHARE_CHANGE = 0.1
MAX_SCORE_CHANGE = 0.2


class Verdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NO_TRAFFIC = "no_traffic"


@dataclass(frozen=True)
class GuardCheck:
    """What one guard found; `value` and `limit` are in `unit`, and None where there is no number."""

    guard: str
    verdict: str
    sentence: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""


def judge_rows(rollout: Rollout, observed: Observed, policy: GatePolicy) -> Iterator[GuardCheck]:
    """Judge what is known at once: failures, NaN, latency, outputs and the split of keys."""
    yield _failures(rollout, observed.requests)
    yield _split(rollout, observed)
    if min(observed.champion.scores.size, observed.challenger.scores.size) < MIN_ROWS:
        rows = f"{observed.champion.scores.size:,} and {observed.challenger.scores.size:,} rows"
        few = f"{rows} of champion and challenger; it needs {MIN_ROWS} of each."
        yield from (_without_rows(guard, rollout.run.model, observed, few) for guard in OF_ROWS)
        return
    look = rollout.checked + 1
    yield _not_finite(rollout, observed)
    yield _latency(rollout, observed, policy)
    yield _class_shares(rollout, observed, look)
    yield _scores(rollout, observed, look)


def _without_rows(guard: Guard, model: Model, observed: Observed, few: str) -> GuardCheck:
    """Return the check of a guard that has no rows to look at, which is no news while requests are few.

    Where requests were answered and their rows are not found, it cannot vouch for the challenger: it is in doubt. A
    model that keeps no rows is never judged by them.
    """
    requests = observed.requests
    answered = min(
        requests.champion - requests.champion_events, requests.challenger - requests.challenger_events
    )
    if model.rows_kept == RowsKept.NONE:
        return GuardCheck(guard, Verdict.NO_TRAFFIC, "The model keeps no rows, so this guard sees nothing.")
    if answered < MIN_ROWS:
        return GuardCheck(guard, Verdict.NO_TRAFFIC, few)
    hint = "Both sides answered more requests: their event times may lie before the step, or their rows elsewhere."
    return GuardCheck(guard, Verdict.INCONCLUSIVE, f"{few} {hint}")


def _failures(rollout: Rollout, now: Events) -> GuardCheck:
    if not now.champion or not now.challenger:
        return GuardCheck(Guard.FAILURES, Verdict.NO_TRAFFIC, "Both sides have not answered requests yet.")
    evidence = log_evidence_of_more([*(Events(*step) for step in rollout.earlier), now])
    shares = now.challenger_events / now.challenger, now.champion_events / now.champion
    own = f"{shares[0]:.2%} of {now.challenger:,} requests failed"
    sentence = f"{own}, {shares[1]:.2%} of the champion's {now.champion:,}"
    return _by_evidence(
        Guard.FAILURES, evidence, sentence, chance_of(rollout, Guard.FAILURES),
        value=shares[0] * 100, limit=shares[1] * 100, unit="%",
    )  # fmt: skip


def _split(rollout: Rollout, observed: Observed) -> GuardCheck:
    split = observed.split
    if split is None or not split.champion + split.canary:
        return GuardCheck(Guard.SPLIT, Verdict.NO_TRAFFIC, "No key was answered since the weight was set.")
    evidence = log_evidence_of_mismatch(split.champion, split.canary, rollout.weight)
    share = split.canary / (split.champion + split.canary)
    keys = f"{split.champion + split.canary:,} keys"
    sentence = f"The challenger answered {share:.1%} of {keys}, of which {rollout.weight:.1%} are its own"
    return _by_evidence(
        Guard.SPLIT, evidence, sentence, chance_of(rollout, Guard.SPLIT),
        value=share * 100, limit=rollout.weight * 100, unit="%",
    )  # fmt: skip


def _not_finite(rollout: Rollout, observed: Observed) -> GuardCheck:
    champion, challenger = observed.champion.scores, observed.challenger.scores
    events = Events(
        champion.size,
        int((~np.isfinite(champion)).sum()),
        challenger.size,
        int((~np.isfinite(challenger)).sum()),
    )
    shares = events.challenger_events / events.challenger, events.champion_events / events.champion
    sentence = f"{shares[0]:.2%} of its outputs are not finite, {shares[1]:.2%} of the champion's"
    evidence = log_evidence_of_more([events])
    return _by_evidence(
        Guard.NOT_FINITE, evidence, sentence, chance_of(rollout, Guard.NOT_FINITE),
        value=shares[0] * 100, limit=shares[1] * 100, unit="%",
    )  # fmt: skip


def _latency(rollout: Rollout, observed: Observed, policy: GatePolicy) -> GuardCheck:
    """Compare in how many bursts an answer is slower than the champion's p99, and the challenger's than its limit."""
    champion, challenger = (
        side.latency_ms[~np.isnan(side.latency_ms)] for side in (observed.champion, observed.challenger)
    )
    if min(champion.size, challenger.size) < MIN_ROWS:
        return GuardCheck(Guard.LATENCY, Verdict.NO_TRAFFIC, "The latency of too few rows is known.")
    p99 = float(np.quantile(champion, 0.99))
    limit = policy.p99_limit_ms(p99)
    events = Events(*_slow_bursts(champion, p99), *_slow_bursts(challenger, limit))
    value = float(np.quantile(challenger, 0.99))
    sentence = f"p99 latency {format_number(value)} ms, the champion's {format_number(p99)} ms"
    return _by_evidence(
        Guard.LATENCY, log_evidence_of_more([events]), sentence, chance_of(rollout, Guard.LATENCY),
        value=value, limit=limit, unit="ms",
    )  # fmt: skip


def _slow_bursts(latency_ms: NDArray[np.float64], limit: float) -> tuple[int, int]:
    """Count the bursts of requests, and those in which one took longer than a limit."""
    starts = np.arange(0, latency_ms.size, BURST)
    return starts.size, int(np.logical_or.reduceat(latency_ms > limit, starts).sum())


def _class_shares(rollout: Rollout, observed: Observed, look: int) -> GuardCheck:
    usual = rollout.usual.get("shares", {})
    name, distance = distance_of_shares(
        observed.champion.answers,
        observed.challenger.answers,
        chance_at_look(CHANCES[Guard.CLASS_SHARES], look),
        usual,
    )
    if not name:
        return GuardCheck(Guard.CLASS_SHARES, Verdict.PASS, "A regression has no classes.")
    sentence = f"The share of {name} differs by {distance.value:.1%} more than in the shadow"
    return _by_distance(Guard.CLASS_SHARES, distance, MAX_SHARE_CHANGE, sentence)


def _scores(rollout: Rollout, observed: Observed, look: int) -> GuardCheck:
    usual = float(rollout.usual.get("scores", 0.0))
    distance = distance_of_scores(
        observed.champion.finite, observed.challenger.finite, chance_at_look(CHANCES[Guard.SCORES], look)
    )
    sentence = f"Scores lie {distance.value:.1%} apart (Kolmogorov-Smirnov), in the shadow {usual:.1%}"
    return _by_distance(Guard.SCORES, distance, usual + MAX_SCORE_CHANGE, sentence)


def judge_labels(found: UnpairedComparison, policy: GatePolicy) -> GuardCheck:
    """Judge the metrics of labels that had time to come: harm stops, everything else passes, as the gate was passed."""
    labelled = found.challenger.labelled
    findings = judge_metrics(found.metrics, policy, found.task)
    harmful = [finding.sentence for finding in findings if finding.harmful]
    if not found.metrics:
        return GuardCheck(Guard.QUALITY, Verdict.NO_TRAFFIC, "No label had time to come yet.")
    objective = found.metrics.get(policy.objective)
    value = objective.difference if objective else None
    if harmful:
        return GuardCheck(Guard.QUALITY, Verdict.FAIL, " ".join(harmful), value, 0.0, policy.objective)
    sentence = f"No metric of its {labelled:,} labelled rows is worse beyond doubt."
    return GuardCheck(Guard.QUALITY, Verdict.PASS, sentence, value, 0.0, policy.objective)


def no_labels_yet() -> GuardCheck:
    return GuardCheck(Guard.QUALITY, Verdict.NO_TRAFFIC, "No label had time to come yet.")


def chance_of(rollout: Rollout, guard: Guard) -> float:
    """Return how likely a guard may err in the present step."""
    return CHANCES[guard] / (len(rollout.plan["steps"]) if guard in OF_ONE_STEP else 1)


def _by_evidence(
    guard: Guard, evidence: float, sentence: str, chance: float, *, value: float, limit: float, unit: str
) -> GuardCheck:
    """Judge by the log of an e-value: against the guard's chance of error, and the doubt before."""
    if evidence >= -log(chance):
        verdict, found = (
            Verdict.FAIL,
            f"{sentence}: chance shows as much in less than {chance:.2%} of cases.",
        )
    elif evidence >= log(DOUBT):
        verdict, found = (
            Verdict.INCONCLUSIVE,
            f"{sentence}: chance shows as much in {exp(-evidence):.2%} of cases.",
        )
    else:
        verdict, found = Verdict.PASS, f"{sentence}: no clear difference."
    return GuardCheck(guard, verdict, found, value, limit, unit)


def _by_distance(guard: Guard, distance: Distance, limit: float, sentence: str) -> GuardCheck:
    """Judge by a distance: it fails where it is beyond the limit for certain, and is in doubt where it may be."""
    if distance.at_least > limit:
        verdict, found = Verdict.FAIL, f"{sentence}: beyond the limit of {limit:.1%}."
    elif distance.value > limit:
        verdict, found = Verdict.INCONCLUSIVE, f"{sentence}: perhaps beyond the limit of {limit:.1%}."
    else:
        verdict, found = Verdict.PASS, f"{sentence}: within the limit of {limit:.1%}."
    return GuardCheck(guard, verdict, found, distance.value * 100, limit * 100, "%")
