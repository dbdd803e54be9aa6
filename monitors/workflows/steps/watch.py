"""The step `watch`: measure the repair beside the old champion, and roll back what is worse."""

from dataclasses import asdict
from datetime import timedelta
from functools import partial

from driftline.base.clock import now
from inference.prediction_log.queries.event_clock import event_now
from inference.registry.deployments import promote, rollback
from inference.registry.models import Deployment
from monitors.workflows.context import Evidence, RunContext, StepOutcome, done, rolled_back, to_json, waiting
from monitors.workflows.judging.pairs import count_labelled, ripe_until
from monitors.workflows.models import Rollout, Run
from monitors.workflows.rollouts.plan_text import write_length
from monitors.workflows.rollouts.progress import note_check, plan_of, rollout_of
from monitors.workflows.rollouts.repair import Repair, measure_repair, watched_pairs
from monitors.workflows.steps.shadow import TRAFFIC

PAIRS_GROWTH = 1.05
"""Each further look waits for a twentieth more pairs, as it reads all of them; the interval allows any number."""
MAX_LABEL_WAIT = timedelta(days=7)
"""After the time of the watch: labels that come later are not waited for."""


def watch(context: RunContext) -> StepOutcome:
    """Compare both champions until the time is over and its labels have come, or there are as many pairs as allowed."""
    current = rollout_of(context.run)
    if current is None or current.state != Rollout.State.WATCHING:
        return done({})
    if now() < current.next_check_at:
        return waiting(_progress(current), needs=TRAFFIC)
    if current.watched_until is None and _elapsed(current) >= plan_of(current).watch_seconds:
        current.watched_until = event_now(model=context.model, now=now())
    pairs = count_labelled(watched_pairs(current))
    is_over = _is_over(current) or pairs >= context.workflow.max_pairs
    note_check(current, [], {"requests": pairs})
    known = (current.repair or {}).get("pairs", 0)
    if pairs and (is_over or pairs >= known * PAIRS_GROWTH):
        repair = measure_repair(current, context.workflow)
        current.repair = to_json(asdict(repair) | {"verdict": repair.verdict}) if repair else None
        if repair is not None and repair.verdict == "worse":
            return rolled_back(
                _describe(repair), {"repair": current.repair}, effect=partial(_go_back, current)
            )
    if is_over:
        return done({"pairs": pairs, "repair": current.repair}, effect=partial(_save, current))
    return waiting(_progress(current), needs=TRAFFIC, effect=partial(_save_unless_ended, current))


def _elapsed(current: Rollout) -> float:
    return (now() - current.since).total_seconds()


def _is_over(current: Rollout) -> bool:
    """Return whether a person ended it, or its time is over and the labels of that time have come."""
    if current.is_allowed:
        return True
    if current.watched_until is None:
        return False
    waited = timedelta(seconds=_elapsed(current) - plan_of(current).watch_seconds)
    return waited >= MAX_LABEL_WAIT or ripe_until(current.run.model) >= current.watched_until


def _progress(current: Rollout) -> str:
    pairs = current.checks[-1]["requests"] if current.checks else 0
    return (
        f"the watch of {write_length(plan_of(current).watch_seconds)}: {pairs:,} labelled pairs with version "
        f"{current.run.champion.version} as reverse shadow"
    )


def _describe(repair: Repair) -> str:
    return (
        f"after the promotion {repair.metric} was {repair.new:.4f} against {repair.old:.4f} of the old champion on "
        f"{repair.pairs:,} pairs, a difference of {repair.difference:+.4f} ({repair.lower:+.4f} to {repair.upper:+.4f})"
    )


def _save(current: Rollout, run: Run) -> Evidence:
    current.save()
    return {}


def _save_unless_ended(current: Rollout, run: Run) -> Evidence:
    """Record a look; a person who ended the watch meanwhile is heard, and at once."""
    stored = Rollout.objects.get(pk=current.pk)
    if stored.is_allowed and not current.is_allowed:
        current.is_allowed, current.next_check_at = True, stored.next_check_at
    return _save(current, run)


def _go_back(current: Rollout, run: Run) -> Evidence:
    """Make the old champion answer again, in the transaction that ends the run."""
    current.save()
    return_to_old_champion(run, f"run {run.pk}", "worse than the champion of before on the same requests")
    return {}


def return_to_old_champion(run: Run, actor: str, reason: str) -> None:
    """Make the champion of before the champion again; does nothing where the challenger is the champion no more."""
    deployment = Deployment.objects.select_for_update(of=("self",)).get(model=run.model)
    if deployment.champion_id != run.challenger_id:
        return
    if deployment.previous_id == run.champion_id:
        rollback(model=run.model, expected_generation=None, actor=actor, reason=reason)
    else:
        promote(
            model=run.model, version=run.champion.version, expected_generation=None, actor=actor, reason=reason
        )  # fmt: skip
