"""Moves a rollout: each change of a weight is one change of the deployment, in the caller's transaction.

The caller has locked the run. Deployments are locked after runs, never the other way round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.prediction_log.models import PredictionRole
from inference.prediction_log.queries.selectors import count_answered, newest_event
from inference.registry.deployments import change_deployment
from inference.registry.models import Deployment
from inference.registry.plan.canary import CanaryWanted
from monitors.stats.promotion.guards import Events
from monitors.workflows.models import Rollout, Run, RunState
from monitors.workflows.rollouts.checks import GuardCheck
from monitors.workflows.rollouts.observations import CHALLENGER_ROWS, counted_requests
from monitors.workflows.rollouts.plan import RolloutPlan

KEY = "subject"
"""What keeps the requests of one caller together; see `CanaryWanted`."""
SERVED_SINCE = "served_since"
MAX_HISTORY, MAX_CHECKS = 200, 60


def plan_of(rollout: Rollout) -> RolloutPlan:
    """Return the plan as it was when the rollout began."""
    return RolloutPlan.parse(rollout.plan)


def rollout_of(run: Run) -> Rollout | None:
    """Read the rollout of a run as it is now; None where none began."""
    rollouts = Rollout.objects.select_related("run__model__project", "run__champion", "run__challenger")
    return rollouts.filter(run=run).first()


def begin_rollout(run: Run, plan: RolloutPlan, usual: dict[str, Any]) -> None:
    """Make the challenger answer the first share, in place of copies."""
    at = now()
    rollout = Rollout(
        run=run, plan=plan.as_json(), usual=usual, since=at, events_since=at, next_check_at=at
    )  # fmt: skip
    _set_step(rollout, 0, f"step 1 of {len(plan.steps)}")


def next_step(rollout: Rollout, requests: Events, reason: str) -> None:
    """Make the challenger answer the share of the next step; `requests` are those of the step that ends."""
    rollout.earlier = [
        *rollout.earlier,
        [requests.champion, requests.champion_events, requests.challenger, requests.challenger_events],
    ]
    _set_step(rollout, rollout.position + 1, reason)


def _set_step(rollout: Rollout, position: int, reason: str) -> None:
    run, step = rollout.run, plan_of(rollout).steps[position]
    assert run.challenger is not None
    rollout.position, rollout.weight, rollout.is_allowed = position, step.weight, False
    rollout.refusals, rollout.refusal = 0, ""
    change_deployment(
        model=run.model,
        shadows=_shadows_without(run, [run.challenger.version]),
        canary=CanaryWanted(run.challenger.version, step.weight, KEY),
        expected_generation=None,
        actor=f"run {run.pk}",
        reason=f"rollout to {step.weight:.1%}: {reason}"[:500],
    )
    _begin_period(rollout, reason)
    _count_so_far(rollout)
    rollout.save()


def begin_watch(run: Run, plan: RolloutPlan) -> None:
    """Make the old champion answer copies of the requests that its successor answers from now on."""
    rollout = rollout_of(run) or Rollout(run=run, plan=plan.as_json())
    change_deployment(
        model=run.model,
        shadows=sorted({*_shadows_without(run, []), run.champion.version}),
        expected_generation=None,
        actor=f"run {run.pk}",
        reason=f"watch version {run.champion.version} beside its successor",
    )
    rollout.state, rollout.position, rollout.weight = Rollout.State.WATCHING, len(plan.steps), 1.0
    rollout.is_allowed, rollout.paused_by = False, ""
    _begin_period(rollout, "promoted")
    rollout.save()


def begin_period_again(rollout: Rollout) -> None:
    """Judge the step by what comes from now on: serving was given its weight late, or anew."""
    _start_now(rollout)
    _count_so_far(rollout)
    rollout.save()


def was_served_later(rollout: Rollout) -> bool:
    """Return whether the share was published late, or set anew, since the step began."""
    known = rollout.counted.get(SERVED_SINCE)
    return known is not None and _served_since(rollout.run) > known


def _count_so_far(rollout: Rollout) -> None:
    """Remember what is no part of the step: the rows and the requests of the hour that came before it."""
    run = rollout.run
    assert run.challenger is not None
    counted = counted_requests(run.model, run.champion, run.challenger, rollout.since)
    rows = count_answered(run.challenger, role=PredictionRole.CANARY)
    rollout.counted = {**counted, CHALLENGER_ROWS: rows, SERVED_SINCE: _served_since(run)}


def _served_since(run: Run) -> float:
    since = Deployment.objects.get(model=run.model).canary_since
    return since.timestamp() if since else 0.0


def _begin_period(rollout: Rollout, reason: str) -> None:
    _start_now(rollout)
    _note_weight(rollout, reason)


def _start_now(rollout: Rollout) -> None:
    at = now()
    rollout.since, rollout.next_check_at = at, _next_check(rollout, at)
    rollout.events_since = newest_event(rollout.run.model) or at
    rollout.labels_until = None


def _shadows_without(run: Run, versions: Sequence[str]) -> list[str]:
    deployment = Deployment.objects.select_for_update().get(model=run.model)
    shadows = deployment.shadows.values_list("version", flat=True)
    return sorted(name for name in shadows if name not in versions)


def _next_check(rollout: Rollout, at: datetime) -> datetime:
    return at + timedelta(seconds=plan_of(rollout).check_seconds)


def _note_weight(rollout: Rollout, reason: str) -> None:
    noted = {"at": rfc3339(now()), "weight": rollout.weight, "reason": reason}
    rollout.history = [*rollout.history, noted][-MAX_HISTORY:]


def note_check(rollout: Rollout, checks: Sequence[GuardCheck], answered: Mapping[str, int]) -> None:
    """Record what the guards found, what was `answered` by then, and when they look again; nothing is saved yet."""
    report_only = plan_of(rollout).report_only
    noted = {
        "at": rfc3339(now()),
        "weight": rollout.weight,
        **answered,
        "guards": [asdict(check) | {"report_only": check.guard in report_only} for check in checks],
    }
    rollout.checks = [*rollout.checks, noted][-MAX_CHECKS:]
    rollout.checked += 1
    rollout.next_check_at = _next_check(rollout, now())


def end_rollout(run: Run, reason: str) -> None:
    """Leave one champion and no other share when a run ends, however far its rollout had come.

    The challenger gets no copies and answers no share any more; nor does the champion of before get copies that a
    watch gave it.
    """
    rollout = rollout_of(run)
    _clear_deployment(run, rollout)
    if rollout is None:
        return
    is_promoted = run.state == RunState.PROMOTED
    rollout.state = Rollout.State.SUCCEEDED if is_promoted else Rollout.State.ABORTED
    rollout.paused_by = ""
    weight = float(Deployment.objects.filter(model=run.model, champion=run.challenger).exists())
    if rollout.weight != weight:
        rollout.weight = weight
        _note_weight(rollout, reason)
    rollout.save()


def note_rollback(run: Run, reason: str) -> None:
    """Record that the deployment of a run which had promoted was rolled back after its end."""
    rollout = rollout_of(run)
    if rollout is None:
        return
    rollout.state, rollout.weight = Rollout.State.ABORTED, 0.0
    _note_weight(rollout, reason)
    rollout.save()


def _clear_deployment(run: Run, rollout: Rollout | None) -> None:
    if run.challenger is None:
        return
    was_watched = rollout is not None and rollout.state == Rollout.State.WATCHING
    deployment = Deployment.objects.select_for_update().get(model=run.model)
    ending = {run.challenger.version, *([run.champion.version] if was_watched else [])}
    shadows = list(deployment.shadows.values_list("version", flat=True))
    is_canary = deployment.canary_id == run.challenger_id and rollout is not None
    if not is_canary and not ending & set(shadows):
        return
    change_deployment(
        model=run.model,
        shadows=[name for name in shadows if name not in ending],
        without_canary=is_canary,
        expected_generation=None,
        actor=f"run {run.pk}",
        reason=f"run {run.pk} ended",
    )
