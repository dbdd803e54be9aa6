"""Writes of versions: uploads, versions that another server answers, and what is said of one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import msgspec
from django.conf import settings
from django.db import transaction

from driftline.base.accounts.quotas import refuse_full
from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from driftline.base.feature import data_removals
from driftline.base.http.uploads import Readable
from inference.registry.deployments import let_answer, locked_deployment
from inference.registry.files import artifacts
from inference.registry.intake import (
    IntakeRefused,
    IntakeReport,
    UploadMetadata,
    inspect_artifact,
    parse_metadata,
)
from inference.registry.lineage import Lineage
from inference.registry.models import (
    Deployment,
    Model,
    Version,
)
from inference.registry.plan.publishing import publish_on_commit
from inference.registry.selectors import signature_of
from inference.registry.services import check_choice
from inference.registry.signals import (
    version_created,
)
from inference.registry.validation import read_reference
from inference.registry.vector_dimensions import embedding_of, remember_dimensions
from inference.runtime.providers import PROVIDERS
from inference.serving import crashes

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def upload_version(
    *,
    model: Model,
    stream: IO[bytes],
    metadata: bytes | None,
    lineage: Lineage,
    actor: str,
    name: str | None = None,
    expected_sha256: str | None = None,
) -> tuple[Version, bool]:
    """Store an ONNX artifact after the sandboxed child has opened and run it; the first one becomes champion.

    Returns the version and whether it is new: the same bytes, signature and execution provider again give the
    version that holds them. Without `name` the version gets the next number. Raises Problem: `digest_mismatch`
    and the refusals of the intake (4xx), `version_exists` (409) where another version has the name, `quota_reached`
    (429) where the project holds as much as it may.
    """
    check_version_name(name)
    refuse_full(model.project)
    with problems_of_intake():
        parsed = parse_metadata(metadata) if metadata else UploadMetadata()
    with examined_upload(model=model, stream=stream, metadata=parsed, expected_sha256=expected_sha256) as (
        arrived,
        report,
    ):
        stored = arrived.keep()
    contents = Contents(
        identity={
            "sha256": stored.sha256,
            "signature": msgspec.to_builtins(report.signature),
            "execution_provider": parsed.execution_provider,
        },
        details={
            "size": stored.size,
            "path": stored.path,
            "intake_report": msgspec.to_builtins(report),
        },
        audited={"sha256": stored.sha256},
    )
    return register(model=model, name=name, contents=contents, lineage=lineage, actor=actor)


@contextmanager
def examined_upload(
    *, model: Model, stream: Readable, metadata: UploadMetadata, expected_sha256: str | None = None
) -> Iterator[tuple[artifacts.ArrivedArtifact, IntakeReport]]:
    """Receive an ONNX file and let the sandboxed child open it; what is not kept by the end of the block is removed.

    Raises Problem: `digest_mismatch` and the refusals of the intake (4xx).
    """
    with problems_of_intake(), artifacts.receive(settings.HOME, stream) as arrived:
        if expected_sha256 and expected_sha256 != arrived.sha256:
            raise Problem(
                422,
                "digest_mismatch",
                f"The upload's SHA-256 is {arrived.sha256}, not the one announced.",
            )
        report = inspect_artifact(
            arrived.location, metadata, task=model.task, reference=read_reference(model)
        )
        yield arrived, report


def digest_of_upload(stream: Readable) -> str:
    """Receive a file for its SHA-256 alone: nothing opens it, and nothing of it is kept.

    Raises Problem: the refusals of the intake for one that is too large (413) or finds the disk full (507).
    """
    with problems_of_intake(), artifacts.receive(settings.HOME, stream) as arrived:
        return arrived.sha256


@contextmanager
def problems_of_intake() -> Iterator[None]:
    """Raise Problem for what the intake refuses."""
    try:
        yield
    except IntakeRefused as refusal:
        faults = invalid(refusal.pointer or "/file", refusal.detail, refusal.code).errors
        raise Problem(refusal.status, refusal.code, refusal.detail, faults) from refusal


def check_version_name(name: str | None) -> None:
    """Refuse what cannot be a version's name."""
    if name is not None and not _VERSION.fullmatch(name):
        raise invalid(
            "/version", f"{name[:64]!r} is not a version name; use 1 to 64 letters, digits, dots, dashes."
        )


@dataclass(frozen=True)
class Contents:
    """What a version holds, by column: `identity` makes two versions the same, `details` follow from it."""

    identity: dict[str, Any]
    details: dict[str, Any]
    audited: dict[str, Any]


def register(
    *, model: Model, name: str | None, contents: Contents, lineage: Lineage, actor: str
) -> tuple[Version, bool]:
    """Keep what passed the intake as a version; gives the version and whether it is new.

    The first one becomes champion. Without `name` it gets the next number. Raises Problem `version_exists` (409).
    """
    with transaction.atomic():
        deployment = Deployment.objects.select_for_update().get(model=model)
        same = model.versions.filter(**contents.identity).order_by("pk")
        if known := same.filter(version=name).first() if name else same.first():
            _set_archived(known, is_archived=False, actor=actor)
            return known, False
        if name is not None and model.versions.filter(version=name).exists():
            raise Problem(
                409, "version_exists", f"Version {name} exists and holds something else; take another name."
            )
        version = Version.objects.create(
            model=model,
            version=name or _next_version(model),
            lineage=lineage.model_dump(exclude_unset=True),
            created_by=actor,
            **contents.identity,
            **contents.details,
        )
        record_audit(
            project=model.project,
            actor=actor,
            action="version.upload",
            subject=str(version),
            after=contents.audited,
        )
        if version.signature:
            remember_dimensions(version.pk, embedding_of(signature_of(version)))
        version_created.send(sender=Version, version=version, actor=actor)
        if deployment.champion is None:
            let_answer(
                deployment, kind="first", actor=actor, reason="first accepted version", champion=version
            )
        publish_on_commit(model)
    return version, True


def _next_version(model: Model) -> str:
    numbers = [int(name) for name in model.versions.values_list("version", flat=True) if name.isdecimal()]
    return str(max(numbers, default=0) + 1)


def is_version_name(text: str) -> bool:
    """Return whether a version may be called so."""
    return bool(_VERSION.fullmatch(text))


def external_version(*, model: Model, version: str) -> Version:
    """Find or make the version that another server answers; ValueError when the name cannot be one."""
    found = model.versions.filter(version=version).first()
    if found is not None:
        return found
    if not is_version_name(version):
        raise ValueError(version)
    with transaction.atomic():
        deployment = Deployment.objects.select_for_update().get(model=model)
        made, created = Version.objects.get_or_create(
            model=model, version=version, defaults={"created_by": "log"}
        )
        if created:
            version_created.send(sender=Version, version=made, actor="log")
        if created and deployment.champion is None:
            let_answer(deployment, kind="first", actor="log", reason="first logged version", champion=made)
            publish_on_commit(model)
    return made


def update_version(
    *, version: Version, actor: str, execution_provider: str | None = None, lift_quarantine: bool = False
) -> Version:
    """Change where a version runs, or let it be loaded again after its crashes; without either nothing happens."""
    before = version.execution_provider
    if execution_provider is not None:
        check_choice("/execution_provider", execution_provider, PROVIDERS)
        if not version.has_artifact:
            raise Problem(
                409,
                "version_has_no_artifact",
                f"Another server answers version {version.version}; it chooses itself where that runs.",
            )
    elif not lift_quarantine:
        return version
    with transaction.atomic():
        if execution_provider is not None and execution_provider != before:
            version.execution_provider = execution_provider
            version.save(update_fields=["execution_provider"])
            publish_on_commit(version.model)
        if lift_quarantine:
            crashes.lift_quarantine(settings.HOME, version.pk)
        record_audit(
            project=version.model.project,
            actor=actor,
            action="version.update",
            subject=str(version),
            before={"execution_provider": before},
            after={"execution_provider": version.execution_provider, "quarantine_lifted": lift_quarantine},
        )
    return version


def archive_version(*, version: Version, is_archived: bool, actor: str) -> None:
    """Hide a version from lists and from deployments, or restore it; its predictions stay.

    Raises Problem `version_in_use` (409) for one that is deployed, that a rollback would restore, or that has an alias.
    """
    with transaction.atomic():
        deployment = locked_deployment(version.model, None)
        version.refresh_from_db(fields=["archived_at"])
        if is_archived:
            _refuse_in_use(version, deployment)
        _set_archived(version, is_archived=is_archived, actor=actor)


def refuse_used_by_features(version: Version) -> None:
    """Raise Problem `version_in_use` (409) for a version that is on devices, or whatever else a feature uses."""
    for removal in data_removals():
        if use := removal.use_of_version(version):
            raise Problem(409, "version_in_use", f"Version {version.version} is {use}.")


def _refuse_in_use(version: Version, deployment: Deployment) -> None:
    refuse_used_by_features(version)
    uses = {deployment.previous_id: "what a rollback restores"}
    uses |= {alias.version_id: f"called {alias.name}" for alias in version.aliases.all()}
    uses |= {one.pk: "a shadow" for one in deployment.shadows.all()}
    uses |= {deployment.canary_id: "the canary", deployment.champion_id: "the champion"}
    if version.pk in uses:
        detail = f"Version {version.version} is {uses[version.pk]}; change that first."
        raise Problem(409, "version_in_use", detail)


def _set_archived(version: Version, *, is_archived: bool, actor: str) -> None:
    if is_archived == (version.archived_at is not None):
        return
    version.archived_at = now() if is_archived else None
    version.save(update_fields=["archived_at"])
    action = "version.archive" if is_archived else "version.restore"
    record_audit(project=version.model.project, actor=actor, action=action, subject=str(version))
