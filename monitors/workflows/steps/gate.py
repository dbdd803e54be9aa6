"""The step `gate`: judge the challenger on the ripe labelled pairs."""

from collections.abc import Iterator
from math import ceil

from driftline.base.periods import parse_timestamp
from inference.registry.models import Autonomy
from monitors.metrics.context import label_lag
from monitors.stats.promotion.gate import GateVerdict, judge
from monitors.stats.promotion.paired import PairedComparison
from monitors.workflows.context import (
    Evidence,
    RunContext,
    StepFailed,
    StepOutcome,
    done,
    rejected,
    to_json,
    waiting,
)
from monitors.workflows.judging.label_jumps import evidence_of
from monitors.workflows.judging.leaks import Leak, find_leak
from monitors.workflows.judging.pairs import (
    compare_wanted,
    count_labelled,
    labelled_champion_rows,
    policy_of,
    ripe_until,
)
from monitors.workflows.judging.wrong_labels import WrongLabels, find_wrong_labels
from monitors.workflows.steps.check_labels import new_jumps, question
from monitors.workflows.steps.shadow import PERSON, TRAFFIC, progress, wanted_pairs

QUESTIONS = {"wrong_labels": "the labels", "leak": "a leak"}

LOOK_GROWTH = 1.05
"""Each further look waits for a twentieth more pairs, as it reads all of them; the intervals allow any number."""


def gate(context: RunContext) -> StepOutcome:
    """Promote, reject, or look again with more pairs until the workflow's largest number.

    More pairs may settle what selective labels leave open; at the last look a person decides, or nobody promotes.
    """
    evidence = context.step.evidence
    if context.run.approved_by and "verdict" in evidence:
        return done({"approved_by": context.run.approved_by})
    wanted = wanted_pairs(context.run, context.evidence_of("shadow")["since"])
    next_look = evidence.get("wanted", context.workflow.pairs)
    found = count_labelled(wanted)
    if found < next_look:
        return waiting(
            progress(found, next_look, wanted.label_lag), needs=TRAFFIC, evidence={"wanted": next_look}
        )
    comparison = compare_wanted(wanted, context.signature, context.workflow)
    if comparison is None:
        raise StepFailed(f"None of the {found:,} pairs has probabilities from both versions to compare.")
    policy = policy_of(context.model, context.workflow, context.signature.task)
    return _answer(context, comparison, judge(comparison, policy), found)


def _answer(
    context: RunContext, comparison: PairedComparison, verdict: GateVerdict, found: int
) -> StepOutcome:
    verdict_json = to_json(verdict)
    looks = [*context.step.evidence.get("looks", []), _look(comparison, verdict)]
    evidence: Evidence = {"looks": looks, "comparison": to_json(comparison), "verdict": verdict_json}
    if verdict.decision == "promote":
        return _promote_unless_in_doubt(context, comparison, evidence, verdict_json)
    if verdict.needs_person and found >= context.workflow.max_pairs:
        if context.model.autonomy == Autonomy.AUTO:
            reason = "labels are selective and the verdict hangs on the missing ones; a person may start a run again"
            return rejected(reason, evidence, verdict=verdict_json)
        return waiting(
            "a person: labels are selective", needs=PERSON, evidence=evidence, verdict=verdict_json
        )
    if verdict.decision == "reject":
        return rejected("the gate was not passed", evidence, verdict=verdict_json)
    next_look = ceil(found * LOOK_GROWTH)
    if found < context.workflow.max_pairs:
        next_look = min(next_look, context.workflow.max_pairs)
    evidence["wanted"] = next_look
    return waiting(
        progress(found, next_look, label_lag(context.model)),
        needs=TRAFFIC,
        evidence=evidence,
        verdict=verdict_json,
    )


def _promote_unless_in_doubt(
    context: RunContext, comparison: PairedComparison, evidence: Evidence, verdict_json: Evidence
) -> StepOutcome:
    """A verdict is worth what its labels and its training rows are: when the labels of the pairs jumped or look wrong,
    or a feature knew the answer in the training rows only, a person decides."""
    since = parse_timestamp(context.evidence_of("shadow")["since"]).date()
    jumps = new_jumps(context, until=ripe_until(context.model), since=since)
    evidence["jumps"] = evidence_of(jumps)
    if jumps:
        return waiting(question(jumps), needs=PERSON, evidence=evidence, verdict=verdict_json)
    for name, doubt in _doubts(context, comparison):
        evidence[name] = to_json(doubt) | {"sentence": doubt.sentence}
        asked = f"a person to judge {QUESTIONS[name]}: {doubt.sentence}"[:200]
        return waiting(asked, needs=PERSON, evidence=evidence, verdict=verdict_json)
    return done(evidence, verdict=verdict_json)


def _doubts(context: RunContext, comparison: PairedComparison) -> Iterator[tuple[str, WrongLabels | Leak]]:
    """Look for what makes a good verdict worth little."""
    signature = context.signature
    rows = labelled_champion_rows(wanted_pairs(context.run, context.evidence_of("shadow")["since"]))
    if wrong := find_wrong_labels(comparison, rows, signature):
        yield "wrong_labels", wrong
    snapshot = context.evidence_of("snapshot").get("dataset")
    if snapshot is None:
        return  # what a version that was brought along learnt from, nobody knows
    objective = policy_of(context.model, context.workflow, signature.task).objective
    leak = find_leak(
        rows,
        signature,
        snapshot=snapshot,
        held_out=context.evidence_of("validate").get("metrics", {}).get(objective),
        live=comparison.metrics.get(objective),
    )
    if leak:
        yield "leak", leak


def _look(comparison: PairedComparison, verdict: GateVerdict) -> Evidence:
    return {
        "labelled": comparison.n_labelled,
        "decision": verdict.decision,
        "difference": to_json({name: metric.difference for name, metric in comparison.metrics.items()}),
    }
