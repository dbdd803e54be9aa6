"""Writes of the registry: models, versions, and which version answers."""

import re
from collections.abc import Iterable
from typing import IO, Any

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max

from driftline.accounts.models import Project
from driftline.accounts.services import record_audit
from driftline.common.clock import now
from driftline.common.errors import Problem, invalid
from inference.prediction_log.models import PredictionChunk
from inference.registry import artifacts
from inference.registry.intake import (
    IntakeRefused,
    IntakeReport,
    UploadMetadata,
    inspect_artifact,
    parse_metadata,
)
from inference.registry.models import (
    Autonomy,
    Deployment,
    DeploymentChange,
    Model,
    Task,
    Version,
)
from inference.registry.publishing import publish_on_commit
from inference.registry.selectors import get_version
from inference.registry.signals import deployment_changed, model_created

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
OBJECTIVES = {"latency_p99_ms", "requests_per_second", "quality", "label_lag_hours"}


class UnableToPromote(Problem):
    """The version cannot answer in the champion's place."""


# -- models ------------------------------------------------------------------------------------------------------------
def create_model(
    *,
    project: Project,
    name: str,
    task: str,
    actor: str,
    description: str = "",
    autonomy: str = Autonomy.APPROVE,
    objectives: dict[str, Any] | None = None,
) -> Model:
    """Create a model with an empty deployment."""
    if not _NAME.fullmatch(name):
        raise invalid(
            "/name", f"{name[:64]!r} is not a model name; use 1 to 100 letters, digits, dots, dashes."
        )
    _check_choice("/task", task, Task.values)
    _check_choice("/autonomy", autonomy, Autonomy.values)
    _check_objectives(objectives or {})
    try:
        with transaction.atomic():
            model = Model.objects.create(
                project=project,
                name=name,
                task=task,
                description=description,
                autonomy=autonomy,
                objectives=objectives or {},
            )
            Deployment.objects.create(model=model)
            record_audit(project=project, actor=actor, action="model.create", subject=name)
            model_created.send(sender=Model, model=model)
            publish_on_commit()
    except IntegrityError as error:
        raise Problem(409, "model_exists", f"This project already has a model {name!r}.") from error
    return model


def update_model(*, model: Model, actor: str, **changes: Any) -> Model:
    """Change a model's description, autonomy or objectives."""
    if "autonomy" in changes:
        _check_choice("/autonomy", changes["autonomy"], Autonomy.values)
    if "objectives" in changes:
        _check_objectives(changes["objectives"])
    before = {name: getattr(model, name) for name in changes}
    with transaction.atomic():
        for name, value in changes.items():
            setattr(model, name, value)
        model.save(update_fields=list(changes))
        record_audit(
            project=model.project,
            actor=actor,
            action="model.update",
            subject=model.name,
            before=before,
            after=changes,
        )
    return model


def _check_choice(pointer: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise invalid(pointer, f"{str(value)[:64]!r} is not one of {', '.join(choices)}.")


def _check_objectives(objectives: dict[str, Any]) -> None:
    if unknown := sorted(set(objectives) - OBJECTIVES):
        raise invalid(
            f"/objectives/{unknown[0]}",
            f"{unknown[0][:64]!r} is not an objective; use some of {', '.join(sorted(OBJECTIVES))}.",
            "unknown_field",
        )


# -- versions ----------------------------------------------------------------------------------------------------------
def upload_version(
    *,
    model: Model,
    stream: IO[bytes],
    metadata: bytes | None,
    lineage: dict[str, Any],
    actor: str,
    expected_sha256: str | None = None,
) -> Version:
    """Store an ONNX artifact after the sandboxed child has opened and run it; the first one becomes champion.

    The same bytes and metadata again give the version that holds them.
    """
    try:
        parsed = parse_metadata(metadata) if metadata else None
        stored = artifacts.store(settings.HOME, stream)
        if expected_sha256 and expected_sha256 != stored.sha256:
            raise Problem(
                422, "digest_mismatch", f"The upload's SHA-256 is {stored.sha256}, not the one announced."
            )
        report = inspect_artifact(settings.HOME / stored.path, parsed, task=model.task)
    except IntakeRefused as refusal:
        faults = invalid(refusal.pointer or "/file", refusal.detail, refusal.code).errors
        raise Problem(refusal.status, refusal.code, refusal.detail, faults) from refusal
    return _register(model, stored, report, parsed, lineage, actor)


def _register(
    model: Model,
    stored: artifacts.StoredArtifact,
    report: IntakeReport,
    metadata: UploadMetadata | None,
    lineage: dict[str, Any],
    actor: str,
) -> Version:
    signature = msgspec.to_builtins(report.signature)
    with transaction.atomic():
        deployment = Deployment.objects.select_for_update().get(model=model)
        if same := model.versions.filter(sha256=stored.sha256, signature=signature).first():
            return same
        version = Version.objects.create(
            model=model,
            version=_next_version(model),
            sha256=stored.sha256,
            size=stored.size,
            path=stored.path,
            signature=signature,
            intake_report=msgspec.to_builtins(report),
            lineage=lineage,
            created_by=actor,
        )
        record_audit(
            project=model.project,
            actor=actor,
            action="version.upload",
            subject=str(version),
            after={"sha256": stored.sha256},
        )
        if deployment.champion is None:
            _change(deployment, kind="first", actor=actor, reason="first accepted version", champion=version)
        publish_on_commit()
    return version


def _next_version(model: Model) -> str:
    numbers = [int(name) for name in model.versions.values_list("version", flat=True) if name.isdecimal()]
    return str(max(numbers, default=0) + 1)


def external_version(*, model: Model, version: str) -> Version:
    """Find or make the version that another server answers; ValueError when the name cannot be one."""
    found = model.versions.filter(version=version).first()
    if found is not None:
        return found
    if not _VERSION.fullmatch(version):
        raise ValueError(version)
    with transaction.atomic():
        deployment = Deployment.objects.select_for_update().get(model=model)
        made, created = Version.objects.get_or_create(
            model=model, version=version, defaults={"created_by": "log"}
        )
        if created and deployment.champion is None:
            _change(deployment, kind="first", actor="log", reason="first logged version", champion=made)
            publish_on_commit()
    return made


# -- deployment --------------------------------------------------------------------------------------------------------
def set_shadows(
    *, model: Model, versions: list[str], expected_generation: int | None, actor: str, reason: str = ""
) -> Deployment:
    """Choose the versions that get a copy of each request."""
    shadows = [_servable(model, name) for name in versions]
    with transaction.atomic():
        deployment = _locked(model, expected_generation)
        if deployment.champion in shadows:
            raise invalid(
                "/shadows", f"Version {deployment.champion} is the champion; it cannot shadow itself."
            )
        if {shadow.pk for shadow in shadows} != set(deployment.shadows.values_list("pk", flat=True)):
            _change(deployment, kind="shadows", actor=actor, reason=reason, shadows=shadows)
            publish_on_commit()
    return deployment


def promote(
    *, model: Model, version: str, expected_generation: int | None, actor: str, reason: str = ""
) -> Deployment:
    """Let `version` answer from now on; the champion of before stays ready for a rollback."""
    promoted = _servable(model, version)
    with transaction.atomic():
        deployment = _locked(model, expected_generation)
        if deployment.champion != promoted:
            _check_same_contract(deployment.champion, promoted)
            _change(deployment, kind="promote", actor=actor, reason=reason, champion=promoted)
            publish_on_commit()
    return deployment


def rollback(*, model: Model, expected_generation: int | None, actor: str, reason: str = "") -> Deployment:
    """Let the champion of before answer again."""
    with transaction.atomic():
        deployment = _locked(model, expected_generation)
        if deployment.previous is None:
            raise UnableToPromote(409, "no_previous_champion", "No champion came before this one.")
        _change(deployment, kind="rollback", actor=actor, reason=reason, champion=deployment.previous)
        publish_on_commit()
    return deployment


def _servable(model: Model, name: str) -> Version:
    version = get_version(model=model, version=name)
    if version.is_external:
        raise UnableToPromote(
            409, "version_has_no_artifact", f"Version {name} is external; upload its ONNX first."
        )
    return version


def _check_same_contract(champion: Version | None, promoted: Version) -> None:
    """Refuse a version that the champion's callers could not call the same way."""
    if champion is None or champion.signature is None or promoted.signature is None:
        return
    for side in ("inputs", "outputs", "classes"):
        if champion.signature[side] != promoted.signature[side]:
            raise UnableToPromote(
                409,
                "incompatible_signature",
                f"Version {promoted.version} has other {side} than the champion {champion.version}.",
            )


def _locked(model: Model, expected_generation: int | None) -> Deployment:
    deployment = (
        Deployment.objects.select_for_update(of=("self",)).select_related("champion").get(model=model)
    )
    if expected_generation is not None and deployment.generation != expected_generation:
        raise Problem(
            412,
            "precondition_failed",
            f"The deployment is at generation {deployment.generation}, not {expected_generation}; read it again.",
        )
    return deployment


def _change(
    deployment: Deployment,
    *,
    kind: str,
    actor: str,
    reason: str,
    champion: Version | None = None,
    shadows: list[Version] | None = None,
) -> None:
    """Make one change with its audit rows; `champion` None leaves the champion, `shadows` None only prunes them."""
    before = _state(deployment)
    if champion is not None:
        deployment.previous, deployment.champion = deployment.champion, champion
    deployment.generation += 1
    deployment.save()
    if shadows is not None:
        deployment.shadows.set(shadows)
    if deployment.champion is not None:
        deployment.shadows.remove(deployment.champion)
    after = _state(deployment)
    newest = PredictionChunk.objects.filter(model=deployment.model).aggregate(newest=Max("end"))["newest"]
    change = DeploymentChange.objects.create(
        model=deployment.model,
        generation=deployment.generation,
        kind=kind,
        before=before,
        after=after,
        event_time=newest or now(),
        actor=actor,
        reason=reason,
    )
    record_audit(
        project=deployment.model.project,
        actor=actor,
        action=f"deployment.{kind}",
        subject=deployment.model.name,
        before=before,
        after=after,
    )
    deployment_changed.send(sender=Deployment, deployment=deployment, change=change)


def _state(deployment: Deployment) -> dict[str, Any]:
    return {
        "champion": deployment.champion.version if deployment.champion else None,
        "shadows": sorted(deployment.shadows.values_list("version", flat=True)),
        "generation": deployment.generation,
    }
