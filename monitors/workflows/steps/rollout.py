"""The step `rollout`: let the challenger answer growing shares, as long as no guard finds harm."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from driftline.base.clock import now
from driftline.base.periods import parse_timestamp, rfc3339, to_us
from inference.registry.models import Autonomy, Deployment
from inference.registry.plan.publishing import is_published
from monitors.stats.promotion.gate import GatePolicy
from monitors.stats.promotion.guards import Events, chance_at_look
from monitors.workflows.context import (
    ChangedMeanwhile,
    Evidence,
    RunContext,
    StepOutcome,
    done,
    rolled_back,
    waiting,
)
from monitors.workflows.judging.canary_evidence import CanaryPeriod, canary_evidence
from monitors.workflows.judging.pairs import policy_of, ripe_until
from monitors.workflows.models import Rollout, Run
from monitors.workflows.rollouts.asking import MAX_REFUSALS, refusal_of_hooks
from monitors.workflows.rollouts.checks import (
    CHANCES,
    MIN_ROWS,
    GuardCheck,
    Verdict,
    judge_labels,
    judge_rows,
    no_labels_yet,
)
from monitors.workflows.rollouts.observations import observe, usual_differences
from monitors.workflows.rollouts.plan import Guard, PlannedStep, RolloutPlan
from monitors.workflows.rollouts.plan_text import write_length
from monitors.workflows.rollouts.progress import (
    begin_period_again,
    begin_rollout,
    next_step,
    note_check,
    plan_of,
    rollout_of,
    was_served_later,
)
from monitors.workflows.steps.check_labels import use_up_approval
from monitors.workflows.steps.shadow import PERSON, TRAFFIC, wanted_pairs

LABEL_GROWTH = 1.2
"""Labels are judged again once the period that has them is a fifth longer, as all its rows are read."""


def rollout(context: RunContext) -> StepOutcome:
    """Begin the rollout when it is approved, then check it and advance, pause or roll back."""
    current = rollout_of(context.run)
    if current is not None:
        return _check(context, current) if now() >= current.next_check_at else _waiting(current)
    plan = RolloutPlan.parse(context.workflow.rollout)
    if not plan.steps:
        return _ask_first(context, plan) or done({"plan": "all at once"})
    if refused := _refused_too_often(context, plan):
        return refused
    if context.model.autonomy != Autonomy.AUTO and not context.run.approved_by:
        return waiting("a person to approve the rollout", needs=PERSON)
    if other := _other_canary(context.run):
        return waiting(f"a person to end the canary, version {other}", needs=PERSON)
    if held := _ask_first(context, plan):
        return held
    wanted = wanted_pairs(context.run, context.evidence_of("shadow")["since"])
    usual = usual_differences(wanted, context.signature)
    first = plan.steps[0]
    return waiting(
        _progress(first, {}), needs=TRAFFIC, evidence={"approved_by": context.run.approved_by or "autonomy"},
        effect=partial(_begin, plan=plan, usual=usual),
    )  # fmt: skip


def _begin(run: Run, *, plan: RolloutPlan, usual: Evidence) -> Evidence:
    if _other_canary(run) is None:  # the next look says for whom it waits
        begin_rollout(run, plan, usual)
    return {}


def _ask_first(context: RunContext, plan: RolloutPlan) -> StepOutcome | None:
    """Ask the hooks before anything changes; None where they agree, or a person says so after they did not."""
    evidence, at = context.step.evidence, now()
    refusals = evidence.get("refusals", 0)
    is_allowed = refusals >= MAX_REFUSALS and context.run.approved_by
    if not plan.hooks or is_allowed:
        return None
    if refused := _refused_too_often(context, plan):
        return refused
    if refusals and at < parse_timestamp(evidence["ask_at"]):
        return waiting(_held(evidence["refusal"]), needs=TRAFFIC)
    refusal = refusal_of_hooks(context.run, plan, 0)
    if not refusal:
        return None
    ask_at = rfc3339(at + timedelta(seconds=plan.check_seconds))
    found = {"refusals": refusals + 1, "refusal": refusal, "ask_at": ask_at}
    if refusals + 1 < MAX_REFUSALS:
        return waiting(_held(refusal), needs=TRAFFIC, evidence=found)
    return waiting(_held(refusal), needs=PERSON, evidence=found, effect=use_up_approval)


def _refused_too_often(context: RunContext, plan: RolloutPlan) -> StepOutcome | None:
    """Wait for a person to decide about what the hooks refuse; None where they did not, or somebody has decided."""
    evidence = context.step.evidence
    if not plan.hooks or context.run.approved_by or evidence.get("refusals", 0) < MAX_REFUSALS:
        return None
    return waiting(_held(evidence["refusal"]), needs=PERSON)


def _held(refusal: str) -> str:
    return f"the hook {refusal}"[:200]


def _other_canary(run: Run) -> str | None:
    canary = Deployment.objects.select_related("canary").get(model=run.model).canary
    return canary.version if canary is not None and canary.pk != run.challenger_id else None


def _waiting(current: Rollout) -> StepOutcome:
    """Describe what the rollout waits for: traffic, or the person who paused it or has to decide."""
    if current.state == Rollout.State.PAUSED:
        return wait_while_paused(current)
    if current.refusals:
        return waiting(_held(current.refusal), needs=TRAFFIC)
    is_of_this_step = any(check["weight"] == current.weight for check in current.checks[-1:])
    answered = current.answered if is_of_this_step else {}
    return waiting(_progress(plan_of(current).steps[current.position], answered), needs=TRAFFIC)


def wait_while_paused(current: Rollout) -> StepOutcome:
    """Wait for the person who paused a rollout, or has to decide about it."""
    who = current.paused_by or (_held(current.refusal) if current.refusals else "undecided guards")
    return waiting(f"a person to resume it: paused at {current.weight:.1%} by {who}"[:200], needs=PERSON)


def _progress(step: PlannedStep, answered: Mapping[str, int]) -> str:
    counts = [
        f"{least:,} {unit}, of which {min(answered.get(unit, 0), least):,} have come"
        for unit, least in (("rows", step.rows), ("requests", step.requests))
        if least
    ]
    return f"the rollout at {step.weight:.1%}: {' and '.join([write_length(step.seconds), *counts])}"


# -- a check -----------------------------------------------------------------------------------------------------------
def _check(context: RunContext, current: Rollout) -> StepOutcome:
    """Judge all guards, and do what follows from them, once serving has been given the weight."""
    if not is_published(context.model):
        return _waiting(current)
    if was_served_later(current):
        return replace(_waiting(current), effect=partial(_begin_again, current, context.run.generation))
    policy = policy_of(context.model, context.workflow, context.signature.task)
    observed = observe(current)
    checks = [*judge_rows(current, observed, policy), _labels(current, policy)]
    answered = observed.answered
    note_check(current, checks, answered)
    plan = plan_of(current)
    judged = [check for check in checks if check.guard not in plan.report_only]
    if failed := [check for check in judged if check.verdict == Verdict.FAIL]:
        reason = f"the guard {failed[0].guard} failed at {current.weight:.1%}: {failed[0].sentence}"
        return rolled_back(
            reason, {"failed": [check.guard for check in failed]}, effect=partial(_save, current)
        )
    step = plan.steps[current.position]
    elapsed = (now() - current.since).total_seconds()
    is_complete = (
        elapsed >= step.seconds and answered["rows"] >= step.rows and answered["requests"] >= step.requests
    )
    is_sure = not any(check.verdict == Verdict.INCONCLUSIVE for check in judged)
    is_paused = current.state == Rollout.State.PAUSED
    if not is_paused and (current.is_allowed or (is_complete and is_sure)):
        return _advance(context, current, observed.requests)
    if not is_paused and elapsed >= plan.max_step_seconds:
        current.state = Rollout.State.PAUSED
    outcome = _waiting(current)
    return replace(outcome, effect=partial(_save_unless_changed, current, context.run.generation))


def _begin_again(current: Rollout, seen: int, run: Run) -> Evidence:
    if run.generation == seen:
        begin_period_again(current)
    return {}


def _save(current: Rollout, run: Run) -> Evidence:
    current.save()
    return {}


def _save_unless_changed(current: Rollout, seen: int, run: Run) -> Evidence:
    """Record a check, unless a person paused or resumed the rollout meanwhile: it is checked again then."""
    return _save(current, run) if run.generation == seen else {}


def _advance(context: RunContext, current: Rollout, requests: Events) -> StepOutcome:
    """Raise the weight, or end the step where the promotion is next."""
    plan, seen = plan_of(current), context.run.generation
    place = current.position + 1
    if not current.is_allowed and (refusal := refusal_of_hooks(context.run, plan, place)):
        return _hold(context, current, refusal)
    reason = "a person resumed it" if current.is_allowed else "no guard found harm"
    if place == len(plan.steps):
        return done({"checks": current.checked}, effect=partial(_save_or_stop, current, seen))

    def raise_weight(run: Run) -> Evidence:
        if run.generation == seen:
            next_step(current, requests, f"step {place + 1} of {len(plan.steps)}, {reason}")
        return {}

    return waiting(_progress(plan.steps[place], {}), needs=TRAFFIC, effect=raise_weight)


def _hold(context: RunContext, current: Rollout, refusal: str) -> StepOutcome:
    """Stay at this weight because a hook does not agree; a person is asked when it refused often enough."""
    current.refusals, current.refusal = current.refusals + 1, refusal[:400]
    if current.refusals >= MAX_REFUSALS:
        current.state = Rollout.State.PAUSED
    return replace(_waiting(current), effect=partial(_save_unless_changed, current, context.run.generation))


def _save_or_stop(current: Rollout, seen: int, run: Run) -> Evidence:
    """Save the rollout for the promotion to follow, unless a person paused it since it was read."""
    if run.generation != seen:
        raise ChangedMeanwhile
    return _save(current, run)


# -- labels ------------------------------------------------------------------------------------------------------------
def _labels(current: Rollout, policy: GatePolicy) -> GuardCheck:
    """Judge the labels that had time to come since the weight was set, or repeat what was found where few are new."""
    ripe, run = ripe_until(current.run.model), current.run
    assert run.challenger is not None
    start = current.events_since
    if ripe <= start:
        return no_labels_yet()
    if current.labels_until is not None and not _has_grown(start, current.labels_until, ripe):
        return _last_label_check(current.checks)
    current.label_looks += 1
    current.labels_until = ripe
    confidence = 1 - 2 * chance_at_look(CHANCES[Guard.QUALITY], current.label_looks)
    period = CanaryPeriod(run.champion, run.challenger, start, None)
    found = canary_evidence(run.model, period, confidence=confidence).found
    if min(found.champion.labelled, found.challenger.labelled) < MIN_ROWS:
        return no_labels_yet()
    return judge_labels(found, policy)


def _has_grown(start: datetime, before: datetime, ripe: datetime) -> bool:
    return to_us(ripe) - to_us(start) >= LABEL_GROWTH * (to_us(before) - to_us(start))


def _last_label_check(checks: Sequence[Evidence]) -> GuardCheck:
    for guard in checks[-1]["guards"] if checks else ():
        if guard["guard"] == Guard.QUALITY:
            return GuardCheck(**{name: value for name, value in guard.items() if name != "report_only"})
    return no_labels_yet()
