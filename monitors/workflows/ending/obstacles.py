"""What ends a run from outside: somebody changed the deployment on which its comparison rests."""

from dataclasses import dataclass
from typing import Any

from inference.registry.models import Deployment, DeploymentChange
from monitors.workflows.models import Rollout, Run, RunState, Step
from monitors.workflows.rollouts.progress import KEY, rollout_of

OF_CHAMPION = ("first", "promote", "rollback")
"""Kinds of changes that make another version champion, and end the canary."""


@dataclass(frozen=True)
class Obstacle:
    """How a run ends, and why; `actor` is who ended it, where that is known."""

    state: RunState
    reason: str
    actor: str = ""


def obstacle_of(run: Run, step: Step) -> Obstacle | None:
    """Return why the run has lost its sense, if it has: its comparison was with this champion, by this deployment."""
    deployment = Deployment.objects.select_related("champion", "canary").get(model=run.model)
    if step.name == "watch":
        return _after_promotion(run, deployment)
    if deployment.champion_id != run.champion_id:
        name = deployment.champion.version if deployment.champion else None
        return Obstacle(
            RunState.CANCELLED,
            f"Version {name} became champion while the run was under way; start a new run.",
        )
    shadowed = "since" in step.evidence or step.name == "gate"
    if shadowed and run.challenger not in deployment.shadows.all():
        name = run.challenger.version if run.challenger else None
        return Obstacle(
            RunState.CANCELLED, f"Version {name} was taken out of the shadows while the run compared it."
        )
    return _in_rollout(run, deployment) if step.name in ("rollout", "promote") else None


def _in_rollout(run: Run, deployment: Deployment) -> Obstacle | None:
    rollout = rollout_of(run)
    if rollout is None:
        return None
    wanted = run.challenger_id, rollout.weight, KEY
    if (deployment.canary_id, deployment.canary_weight, deployment.canary_key) == wanted:
        return None
    found = (
        f"version {deployment.canary.version} at {deployment.canary_weight:.1%} by {deployment.canary_key}"
        if deployment.canary
        else "none"
    )
    return Obstacle(
        RunState.ROLLED_BACK,
        f"The canary was changed to {found} while the rollout was under way.",
        _last_change(run, kind__in=("canary", *OF_CHAMPION)).actor,
    )


def _after_promotion(run: Run, deployment: Deployment) -> Obstacle | None:
    if deployment.champion_id == run.champion_id:
        change = _last_change(run, kind__in=OF_CHAMPION, after__champion=run.champion.version)
        return Obstacle(RunState.ROLLED_BACK, change.reason or f"rolled back by {change.actor}", change.actor)
    if deployment.champion_id != run.challenger_id:
        name = deployment.champion.version if deployment.champion else None
        return Obstacle(RunState.PROMOTED, f"Version {name} became champion, so the watch ended.")
    rollout = rollout_of(run)
    is_watched = rollout is not None and rollout.state == Rollout.State.WATCHING
    if is_watched and run.champion not in deployment.shadows.all():
        return Obstacle(
            RunState.PROMOTED,
            f"Version {run.champion.version} was taken out of the shadows, so the watch ended.",
        )
    return None


def _last_change(run: Run, **which: Any) -> DeploymentChange:
    changes = DeploymentChange.objects.filter(model=run.model, **which).order_by("-generation")
    return changes.first() or DeploymentChange.objects.filter(model=run.model).latest("generation")
