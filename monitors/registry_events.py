"""Events of what the registry and definitions change: deployments, versions, and what windows are compared with."""

from typing import Any

from driftline.base.work.task_queue import Task, enqueue
from inference.registry.models import DeploymentChange, Model, Version
from monitors.definitions.choosing import described
from monitors.definitions.models import Reference
from monitors.feed.kinds import DEPLOYMENT_CHANGED, REFERENCE_CHANGED, VERSION_CREATED
from monitors.feed.services import record_event
from monitors.workflows.ending.reporting import report_rollback
from monitors.workflows.models import ACTIVE_STATES, Run, RunState
from monitors.workflows.rollouts.progress import note_rollback


def record_deployment(change: DeploymentChange) -> None:
    """Record a change of a deployment; where it rolls back what a run promoted, that too."""
    model, before, after = change.model, change.before, change.after
    record_event(
        project=model.project,
        model=model,
        kind=DEPLOYMENT_CHANGED,
        subject=f"model-{model.pk}",
        actor=change.actor,
        text=f"{model.name}: {describe_change(change)}",
        path=f"/models/{model.name}/",
        facts=[
            ("Change", change.kind),
            ("By", change.actor),
            *([("Reason", change.reason)] if change.reason else []),
        ],
        data={
            "deployment": {
                "kind": change.kind,
                "generation": change.generation,
                "actor": change.actor,
                "reason": change.reason or None,
                "before": before,
                "after": after,
            }
        },
    )
    if change.kind == "rollback":
        _record_rollback(change)


def describe_change(change: DeploymentChange) -> str:
    """Describe in words what a change of a deployment did."""
    champion, shadows = change.after.get("champion"), change.after.get("shadows") or []
    match change.kind:
        case "shadows" if shadows:
            return f"version {', '.join(shadows)} shadows the champion"
        case "shadows":
            return "no version shadows the champion any more"
        case "canary" if canary := change.after.get("canary"):
            return f"the canary, version {canary['version']}, answers {canary['weight']:.1%} of keys"
        case "canary":
            return "the canary ended"
        case "rollback":
            return f"version {champion} answers again, in place of {change.before.get('champion') or 'none'}"
        case _:
            former = change.before.get("champion")
            return f"version {champion} answers" + (
                f" in place of version {former}" if former else " from now on"
            )


def _record_rollback(change: DeploymentChange) -> None:
    """Mark the run that promoted what was rolled back; one that still watches it finds out when it looks next."""
    promoted = Run.objects.filter(model=change.model, challenger__version=change.before.get("champion"))
    run = promoted.select_related("model__project", "champion", "challenger").order_by("-pk").first()
    if run is None:
        return
    if run.state in ACTIVE_STATES:
        enqueue(Task.ADVANCE_RUN, run_id=run.pk)
    elif run.state == RunState.PROMOTED:
        run.state = RunState.ROLLED_BACK
        run.save(update_fields=["state"])
        note_rollback(run, change.reason or f"rolled back by {change.actor}")
        report_rollback(run, actor=change.actor, reason=change.reason)


def record_version(version: Version, actor: str) -> None:
    """Record a new version."""
    model = version.model
    where = "its file was uploaded" if version.has_artifact else "another server answers it"
    record_event(
        project=model.project,
        model=model,
        kind=VERSION_CREATED,
        subject=f"model-{model.pk}",
        actor=actor,
        text=f"{model.name}: version {version.version} was created; {where}",
        path=f"/models/{model.name}/versions",
        facts=[("Version", version.version), ("By", actor)],
        data={
            "version": {
                "name": version.version,
                "has_artifact": version.has_artifact,
                "sha256": version.sha256 or None,
                "created_by": actor,
            }
        },
    )


def record_reference(reference: Reference) -> None:
    """Record what the windows of a version are compared with from now on."""
    model: Model = reference.model
    chosen: dict[str, Any] = described(reference)
    record_event(
        project=model.project,
        model=model,
        kind=REFERENCE_CHANGED,
        subject=f"model-{model.pk}",
        text=(
            f"{model.name}: windows of version {reference.version.version} are compared with "
            f"{_WORDS[Reference.Kind(reference.kind)]}"
        ),
        path=f"/models/{model.name}/reference",
        facts=[("Version", reference.version.version), ("Reference", reference.get_kind_display())],
        data={"reference": {"id": reference.pk, "version": reference.version.version, **chosen}},
    )


_WORDS = {
    Reference.Kind.FILE: "an uploaded file",
    Reference.Kind.PERIOD: "a fixed period of the log",
    Reference.Kind.TRAILING: "the days before each window",
    Reference.Kind.SAME_HOURS: "the same hours of the weeks before",
}
