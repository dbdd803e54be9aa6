"""Reports to MLflow what became of a version: its alias `champion`, and tags with the evidence."""

from typing import Any

from django.db.models import F, Q

from driftline.base.work.leased_work import WorkLease
from driftline.base.work.task_queue import Task, enqueue
from inference.registry.models import Deployment, Version
from inference.registry.selectors import signature_of
from monitors.workflows.judging.pairs import policy_of
from monitors.workflows.mlflow.client import RegisteredModel, registry_of
from monitors.workflows.mlflow.models import MlflowReport, MlflowVersion
from monitors.workflows.models import ACTIVE_STATES, Run, RunState, Workflow
from monitors.workflows.starting.patience import attempt_patiently

CHAMPION = "champion"
"""The alias that Driftline sets; nothing else should."""
MAX_TAG_LETTERS = 500


def report_later(version: Version | None) -> None:
    """Schedule a report to MLflow on how a version is by now, in the caller's transaction; most came from elsewhere.

    What is reported is read when it is sent, so a report that is late or repeated says nothing old.
    """
    if version is None:
        return
    followed = {"model__mlflow__url": F("url"), "model__mlflow__registered_model": F("registered_model")}
    for taken in MlflowVersion.objects.filter(version=version, **followed):
        MlflowReport.objects.get_or_create(taken=taken)
        MlflowReport.objects.filter(taken=taken).begin_again(failures=0)
        enqueue(Task.LONG_WORK)


def report_champions(before: str | None, after: str | None, deployment: Deployment) -> None:
    """Schedule reports to MLflow on both versions of a change of the champion."""
    if before != after:
        for version in deployment.model.versions.filter(version__in=[one for one in (before, after) if one]):
            report_later(version)


def send_report(report_id: int) -> bool:
    """Send a report where that is due; returns whether it was."""
    return attempt_patiently(MlflowReport.objects.filter(pk=report_id), _send)


def _send(lease: WorkLease[MlflowReport]) -> None:
    report = lease.read()
    related = MlflowVersion.objects.select_related("model__project", "version")
    taken = related.get(pk=report.taken_id)
    if taken.version is None:  # it was deleted here
        lease.finish(MlflowReport.State.SENT)
        return
    _, registry = registry_of(taken.model, taken)
    deployment = Deployment.objects.select_related("champion").get(model=taken.model)
    for key, value in describe(taken, deployment).items():
        registry.set_tag(taken.number, f"driftline.{key}", value[:MAX_TAG_LETTERS])
    _move_alias(registry, taken, deployment)
    lease.finish(MlflowReport.State.SENT)


def _move_alias(registry: RegisteredModel, taken: MlflowVersion, deployment: Deployment) -> None:
    """Point the alias at the version that answers; where that did not come from MLflow, none has it."""
    pointed_at = registry.aliases().get(CHAMPION)
    if deployment.champion_id == taken.version_id:
        if pointed_at != taken.number:
            registry.set_alias(CHAMPION, taken.number)
    elif pointed_at == taken.number and not _has_other_champion(taken):
        registry.delete_alias(CHAMPION)


def _has_other_champion(taken: MlflowVersion) -> bool:
    """Return whether the alias is another's to move: the champion of this model came from the same registered model, or
    another model that follows it has this version as its champion."""
    same = MlflowVersion.objects.filter(url=taken.url, registered_model=taken.registered_model)
    others = same.filter(Q(model=taken.model) | Q(number=taken.number))
    return others.filter(version=F("model__deployment__champion")).exists()


def describe(taken: MlflowVersion, deployment: Deployment) -> dict[str, str]:
    """Return the tags of a version, without their prefix: what was decided, and the evidence for it."""
    is_champion = deployment.champion_id == taken.version_id
    model, version = taken.model, taken.version
    tags = {
        "version": version.version if version else "",
        "decision": "promoted" if is_champion else "not deployed",
        "url": f"{model.project.url}/models/{model.name}/",
    }
    run = Run.objects.filter(model=model, challenger=version).order_by("-pk").first()
    if run is None:
        return tags
    tags |= {"run": str(run.pk), "url": f"{model.project.url}/models/{model.name}/runs/{run.pk}"}
    if not is_champion:
        ended = "replaced" if run.state == RunState.PROMOTED else run.state
        tags["decision"] = "under way" if run.state in ACTIVE_STATES else ended
    return tags | _evidence(run)


def _evidence(run: Run) -> dict[str, str]:
    """Write what the gate found of its objective: the challenger minus the champion."""
    tags = {"reasons": " ".join(map(str, (run.verdict or {}).get("reasons", [])))}
    gate = run.steps.filter(name="gate").first()
    metrics: dict[str, Any] = (gate.evidence if gate else {}).get("comparison", {}).get("metrics", {})
    policy = policy_of(run.model, Workflow.of(run.model), signature_of(run.champion).task)
    found = metrics.get(policy.objective)
    if found:
        tags |= {
            "metric": policy.objective,
            "difference": f"{found['difference']:.6g}",
            "interval": f"[{found['lower']:.6g}, {found['upper']:.6g}]",
        }
    return {name: value for name, value in tags.items() if value}
