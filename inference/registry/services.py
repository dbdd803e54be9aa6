"""Writes of the registry: models, versions, and which version answers."""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction

from driftline.accounts.models import Project
from driftline.accounts.quotas import refuse_full
from driftline.accounts.services import record_audit
from driftline.common.clock import now
from driftline.common.errors import FieldFault, Problem, invalid
from driftline.common.strict_json import escape_pointer
from driftline.common.uploads import Readable
from inference.prediction_log.spool.privacy import HASH, KEEP, POLICIES
from inference.registry import artifacts
from inference.registry.canary import CanaryWanted, describe_canary
from inference.registry.contract.differences import contract_difference
from inference.registry.contract.positive_class import choose_positive_class
from inference.registry.hooks import newest_event, use_on_devices
from inference.registry.intake import (
    IntakeRefused,
    IntakeReport,
    UploadMetadata,
    inspect_artifact,
    parse_metadata,
)
from inference.registry.lineage import Lineage
from inference.registry.models import (
    Autonomy,
    Deployment,
    DeploymentChange,
    Model,
    ModelTask,
    RowsKept,
    SchemaPolicy,
    Version,
)
from inference.registry.publishing import publish_on_commit
from inference.registry.selectors import get_version, privacies, signature_of
from inference.registry.signals import (
    deployment_changed,
    model_created,
    privacy_changed,
    rows_no_longer_kept,
    text_features_changed,
    version_created,
)
from inference.registry.validation import check_answers, read_reference
from inference.registry.vector_dimensions import embedding_of, remember_dimensions
from inference.runtime.providers import PROVIDERS
from inference.serving import crashes
from inference.texts import text_parts

RESERVED_NAMES = {"new"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TAG = re.compile(r"[\w][\w.:/-]{0,49}")
MAX_TAGS = 20
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_RETENTION_DAYS = 36_500
MAX_TEXT_FEATURES, MAX_TEXT_NAME = 50, 80
OBJECTIVES = {
    "label_lag_hours": "Labels arrive within (hours)",
    "latency_p99_ms": "99 % of answers within (ms)",
    "requests_per_second": "Requests a second",
    "quality": "Quality is measured by",
    "quantile": "Predicted quantile",
}
"""What a model may be to achieve, with the words of pages."""
MAX_POLICIES = 1_000
MAX_FEATURE_NAME_LENGTH = 100


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
    owner: str = "",
    tags: Iterable[str] = (),
    autonomy: str = Autonomy.APPROVE,
    objectives: dict[str, Any] | None = None,
    retention_days: int | None = None,
    summary_retention_days: int | None = None,
    privacy: dict[str, str] | None = None,
    schema_policy: str = SchemaPolicy.LENIENT,
    rows_kept: str = RowsKept.ALL,
    text_features: Iterable[str] = (),
    thumbnail_share: float = 0.0,
) -> Model:
    """Create a model with an empty deployment.

    Raises Problem 409 where the project has as many models as its quota allows, or one of this name.
    """
    check_model_name(name)
    _check_choice("/task", task, ModelTask.values)
    kept_tags = check_tags(tags)
    _check_choice("/autonomy", autonomy, Autonomy.values)
    _check_objectives(objectives or {})
    _check_retention("retention_days", retention_days)
    _check_retention("summary_retention_days", summary_retention_days)
    _check_privacy(privacy or {})
    _check_choice("/schema_policy", schema_policy, SchemaPolicy.values)
    _check_choice("/rows_kept", rows_kept, RowsKept.values)
    texts = _check_text_features(text_features)
    _check_thumbnail_share(thumbnail_share)
    try:
        with transaction.atomic():
            _refuse_model_too_many(project)
            model = Model.objects.create(
                project=project,
                name=name,
                task=task,
                description=description,
                owner=owner.strip(),
                tags=kept_tags,
                autonomy=autonomy,
                objectives=objectives or {},
                retention_days=retention_days,
                summary_retention_days=summary_retention_days,
                privacy=_merge_privacy({}, privacy or {}),
                schema_policy=schema_policy,
                rows_kept=rows_kept,
                text_features=texts,
                thumbnail_share=thumbnail_share,
            )
            Deployment.objects.create(model=model)
            record_audit(project=project, actor=actor, action="model.create", subject=name)
            model_created.send(sender=Model, model=model)
            publish_on_commit(model)
    except IntegrityError as error:
        raise Problem(409, "model_exists", f"This project already has a model {name!r}.") from error
    return model


def _refuse_model_too_many(project: Project) -> None:
    """Refuse one model more than the quota, by the project as it is now, of which two at once wait for each other."""
    quota = Project.objects.select_for_update(no_key=True).get(pk=project.pk).max_models
    if quota and (count := Model.objects.filter(project=project).count()) >= quota:
        raise Problem(
            409,
            "quota_reached",
            f"{project.name} has {count:,} model{'' if count == 1 else 's'} of a quota of {quota:,}, with archived "
            "ones; delete one, or ask an operator to raise the quota.",
        )


def check_model_name(name: str) -> None:
    """Refuse what cannot be a model's name."""
    if not _NAME.fullmatch(name):
        raise invalid(
            "/name", f"{name[:64]!r} is not a model name; use 1 to 100 letters, digits, dots, dashes."
        )
    if name in RESERVED_NAMES:
        raise invalid("/name", f"{name!r} is the page that adds a model; use another name.", "reserved_name")


def update_model(*, model: Model, actor: str, **changes: Any) -> Model:
    """Change a description, owner, tags, autonomy, objectives, retention, schema policy, the privacy of named features,
    which rows are kept (with `none` those that are stored are dropped once they are summarised), of which share of
    images a thumbnail is, the positive class of the champion, or the task, which what is logged and served is read by,
    so that it stays from the first version on.
    """
    if changes.get("task", model.task) != model.task:
        _check_choice("/task", changes["task"], ModelTask.values)
        _refuse_task_with_versions(model)
    if "owner" in changes:
        changes["owner"] = changes["owner"].strip()
    if "tags" in changes:
        changes["tags"] = check_tags(changes["tags"])
    if "autonomy" in changes:
        _check_choice("/autonomy", changes["autonomy"], Autonomy.values)
    if "objectives" in changes:
        _check_objectives(changes["objectives"])
    for name in ("retention_days", "summary_retention_days"):
        _check_retention(name, changes.get(name))
    _check_privacy(changes.get("privacy", {}))
    if "schema_policy" in changes:
        _check_choice("/schema_policy", changes["schema_policy"], SchemaPolicy.values)
    if "rows_kept" in changes:
        _check_choice("/rows_kept", changes["rows_kept"], RowsKept.values)
    if "text_features" in changes:
        changes["text_features"] = _check_text_features(changes["text_features"])
        _check_text_parts(model, changes["text_features"])
    _check_thumbnail_share(changes.get("thumbnail_share", 0.0))
    positive_class = changes.pop("positive_class", None)
    with transaction.atomic():
        if positive_class is not None:
            model.deployment = _locked(model, None)
            champion = model.deployment.champion
            if champion is None:
                raise Problem(
                    409, "no_champion", f"{model.name} has no version yet; upload a reference first."
                )
            choose_positive_class(version=champion, positive_class=positive_class, actor=actor)
        if "privacy" in changes:
            model.privacy = Model.objects.select_for_update().get(pk=model.pk).privacy
            changes["privacy"] = _merge_privacy(model.privacy, changes["privacy"])
        if changes:
            _store_changes(model, actor, changes)
    return model


def archive_model(*, model: Model, is_archived: bool, actor: str) -> None:
    """Put a model aside, or bring it back: an archived one is not listed, and its rules are not judged."""
    if is_archived == (model.archived_at is not None):
        return
    with transaction.atomic():
        model.archived_at = now() if is_archived else None
        model.save(update_fields=["archived_at"])
        if not is_archived:
            model.sources.update(read_at=now())  # nobody had to read them meanwhile
        action = "model.archive" if is_archived else "model.restore"
        record_audit(project=model.project, actor=actor, action=action, subject=model.name)


def change_tags(
    *, models: Iterable[Model], add: Iterable[str] = (), remove: Iterable[str] = (), actor: str
) -> int:
    """Give each of these models some tags, or take some away; returns how many models changed."""
    added, removed, changed = check_tags(add), set(check_tags(remove)), 0
    with transaction.atomic():
        for model in models:
            tags = sorted({*model.tags, *added} - removed)
            if tags != model.tags:
                update_model(model=model, actor=actor, tags=tags)
                changed += 1
    return changed


def check_tags(tags: Iterable[str]) -> list[str]:
    """Return tags sorted, each once; refuse what cannot be one."""
    kept = sorted({tag.strip() for tag in tags})
    if len(kept) > MAX_TAGS:
        raise invalid("/tags", f"{len(kept)} tags; a model has up to {MAX_TAGS}.")
    for tag in kept:
        if not _TAG.fullmatch(tag):
            raise invalid(
                "/tags",
                f"{tag[:64]!r} is not a tag; use 1 to 50 letters, digits, dots, dashes, colons, slashes or _.",
            )
    return kept


def _refuse_task_with_versions(model: Model) -> None:
    if model.versions.exists():
        raise Problem(
            409,
            "model_has_versions",
            f"{model.name} has versions, and what they answer is read as {model.task}; add another model instead.",
            [FieldFault("/task", "model_has_versions", "The task stays from the first version on.")],
        )


def _store_changes(model: Model, actor: str, changes: dict[str, Any]) -> None:
    before = {name: getattr(model, name) for name in changes}
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
    if changes.get("privacy", before.get("privacy")) != before.get("privacy"):
        _check_hashed(model)
        privacy_changed.send(sender=Model, model=model)
        publish_on_commit(model)
        transaction.on_commit(privacies.forget)
    if changes.get("thumbnail_share", before.get("thumbnail_share")) != before.get("thumbnail_share"):
        publish_on_commit(model)
    if changes.get("text_features", before.get("text_features")) != before.get("text_features"):
        text_features_changed.send(sender=Model, model=model)
    if (before.get("rows_kept"), changes.get("rows_kept")) == (RowsKept.ALL, RowsKept.NONE):
        rows_no_longer_kept.send(sender=Model, model=model)


def _check_thumbnail_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise invalid(
            "/thumbnail_share",
            f"{share} is no share; use 0 to keep no thumbnail, up to 1 for one of each image.",
        )


def _check_text_features(names: Iterable[str]) -> list[str]:
    """Return the names sorted, each once; refuse what cannot be one."""
    kept = sorted({name.strip() for name in names} - {""})
    if len(kept) > MAX_TEXT_FEATURES:
        raise invalid("/text_features", f"{len(kept)} texts; a model has up to {MAX_TEXT_FEATURES}.")
    if too_long := next((name for name in kept if len(name) > MAX_TEXT_NAME), None):
        detail = f"{too_long[:40]!r} has {len(too_long)} characters; a text's name has up to {MAX_TEXT_NAME}."
        raise invalid("/text_features", detail)
    return kept


def _check_text_parts(model: Model, texts: Iterable[str]) -> None:
    """Raise Problem where what is measured of a text has the name of a feature that some version declares."""
    versions = model.versions.filter(signature__isnull=False)
    declared = {feature.name for version in versions for feature in signature_of(version).features}
    refuse_taken_parts(texts, declared.union(texts), "/text_features")


def refuse_taken_parts(texts: Iterable[str], features: Collection[str], pointer: str) -> None:
    """Raise Problem (422) where what is measured of a text would have the name of another feature."""
    for name in texts:
        if part := next((part for part in text_parts(name) if part in features), None):
            detail = (
                f"{part!r} is a feature, and what is measured of the text {name!r} would have its name; rename one "
                f"of them, or declare {name!r} no text."
            )
            raise invalid(pointer, detail, "name_taken")


def _check_choice(pointer: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise invalid(pointer, f"{str(value)[:64]!r} is not one of {', '.join(choices)}.")


def _check_objectives(objectives: dict[str, Any]) -> None:
    if unknown := sorted(objectives.keys() - OBJECTIVES.keys()):
        raise invalid(
            f"/objectives/{unknown[0]}",
            f"{unknown[0][:64]!r} is not an objective; use some of {', '.join(sorted(OBJECTIVES))}.",
            "unknown_field",
        )


def _check_retention(name: str, days: int | None) -> None:
    if days is not None and not 0 <= days <= MAX_RETENTION_DAYS:
        raise invalid(
            f"/{name}",
            f"The retention is {days} days; use 1 to {MAX_RETENTION_DAYS}, or 0 to keep them for ever.",
        )


def _merge_privacy(known: dict[str, str], changes: dict[str, str]) -> dict[str, str]:
    """Change the policies of the features that are named; `keep` is what is not written down."""
    merged = known | changes
    return {name: merged[name] for name in sorted(merged) if merged[name] != KEEP}


def _check_privacy(policies: dict[str, str]) -> None:
    if len(policies) > MAX_POLICIES:
        raise invalid("/privacy", f"{len(policies):,} features; name up to {MAX_POLICIES:,} at a time.")
    for name, policy in policies.items():
        if not name or len(name) > MAX_FEATURE_NAME_LENGTH:
            detail = f"{name[:64]!r} is no feature's name; it has 1 to {MAX_FEATURE_NAME_LENGTH} characters."
            raise invalid("/privacy", detail)
        _check_choice(f"/privacy/{escape_pointer(name)}", policy, POLICIES)


def _check_hashed(model: Model) -> None:
    """Refuse to hash what a version takes as a number: its summaries could not be added to those of before."""
    for version in model.versions.filter(signature__isnull=False):
        for feature in signature_of(version).features:
            if model.privacy.get(feature.name) == HASH and feature.type != "string":
                raise number_cannot_be_hashed(feature.name)


def number_cannot_be_hashed(feature: str) -> Problem:
    detail = f"The feature {feature!r} is a number, and only text is hashed; drop it, or send it as text."
    return invalid(f"/privacy/{escape_pointer(feature)}", detail, "not_text")


# -- versions ----------------------------------------------------------------------------------------------------------
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
            _change(deployment, kind="first", actor=actor, reason="first accepted version", champion=version)
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
            _change(deployment, kind="first", actor="log", reason="first logged version", champion=made)
            publish_on_commit(model)
    return made


def update_version(
    *, version: Version, actor: str, execution_provider: str | None = None, lift_quarantine: bool = False
) -> Version:
    """Change where a version runs, or let it be loaded again after its crashes; without either nothing happens."""
    before = version.execution_provider
    if execution_provider is not None:
        _check_choice("/execution_provider", execution_provider, PROVIDERS)
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
        deployment = _locked(version.model, None)
        version.refresh_from_db(fields=["archived_at"])
        if is_archived:
            _refuse_in_use(version, deployment)
        _set_archived(version, is_archived=is_archived, actor=actor)


def _refuse_in_use(version: Version, deployment: Deployment) -> None:
    if on_devices := use_on_devices(version):
        raise Problem(409, "version_in_use", f"Version {version.version} is {on_devices}.")
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


# -- deployment --------------------------------------------------------------------------------------------------------
def set_shadows(
    *, model: Model, versions: list[str], expected_generation: int | None, actor: str, reason: str = ""
) -> Deployment:
    """Choose the versions that get a copy of each request."""
    return change_deployment(
        model=model, shadows=versions, expected_generation=expected_generation, actor=actor, reason=reason
    )


def change_deployment(
    *,
    model: Model,
    expected_generation: int | None,
    actor: str,
    reason: str = "",
    shadows: list[str] | None = None,
    shadow_shares: dict[str, float] | None = None,
    canary: CanaryWanted | None = None,
    without_canary: bool = False,
) -> Deployment:
    """Change the shadows, the share of rows that each gets, and the canary; what is None stays as it is.

    Raises Problem: 422 where the champion is named as its own shadow or canary, `incompatible_signature` (409)
    for a canary that the champion's callers could not call the same way, 412 at another generation.
    """
    copied = None if shadows is None else [servable_version(model, name) for name in shadows]
    answering = None if canary is None else servable_version(model, canary.version)
    if answering is not None:
        check_answers(answering)
    with transaction.atomic():
        deployment = _locked(model, expected_generation)
        _refuse_archived([*(copied or []), *([answering] if answering else [])])
        before = _state(deployment)
        if copied is not None:
            _set_shadows(deployment, copied)
        if shadow_shares is not None:
            deployment.shadow_shares = _checked_shares(deployment, shadow_shares)
        if without_canary:
            _clear_canary(deployment)
        if canary is not None and answering is not None:
            _set_canary(deployment, answering, canary)
        if _state(deployment) != before:
            kind = "canary" if before["canary"] != _state(deployment)["canary"] else "shadows"
            _record_change(deployment, before, kind=kind, actor=actor, reason=reason)
            publish_on_commit(model)
    return deployment


def _set_shadows(deployment: Deployment, shadows: list[Version]) -> None:
    if deployment.champion in shadows:
        raise invalid("/shadows", f"Version {deployment.champion} is the champion; it cannot shadow itself.")
    deployment.shadows.set(shadows)
    names = {shadow.version for shadow in shadows}
    deployment.shadow_shares = {
        name: share for name, share in deployment.shadow_shares.items() if name in names
    }


def _checked_shares(deployment: Deployment, shares: dict[str, float]) -> dict[str, float]:
    names = set(deployment.shadows.values_list("version", flat=True))
    for name in shares.keys() - names:
        raise invalid(
            f"/shadow_shares/{name[:64]}", f"Version {name[:64]!r} is no shadow; add it to 'shadows'."
        )
    return {name: share for name, share in shares.items() if share < 1}


def _set_canary(deployment: Deployment, version: Version, wanted: CanaryWanted) -> None:
    if deployment.champion is None or deployment.champion.is_external:
        raise UnableToPromote(
            409, "no_champion", "A canary takes a share of a champion's requests; promote one."
        )
    if version == deployment.champion:
        raise invalid(
            "/canary/version", f"Version {version.version} is the champion; it answers all already."
        )
    _check_same_contract(deployment.champion, version)
    same = (version, wanted.weight, wanted.key)
    if same == (deployment.canary, deployment.canary_weight, deployment.canary_key):
        return
    deployment.canary, deployment.canary_weight, deployment.canary_key = same
    deployment.canary_since = now()


def _clear_canary(deployment: Deployment) -> None:
    deployment.canary = deployment.canary_weight = deployment.canary_since = None
    deployment.canary_key = "subject"


def promote(
    *, model: Model, version: str, expected_generation: int | None, actor: str, reason: str = ""
) -> Deployment:
    """Let `version` answer from now on; the champion of before stays ready for a rollback."""
    promoted = servable_version(model, version)
    check_answers(promoted)
    with transaction.atomic():
        deployment = _locked(model, expected_generation)
        _refuse_archived([promoted])
        if deployment.champion != promoted:
            _check_same_contract(deployment.champion, promoted)
            _change(deployment, kind="promote", actor=actor, reason=reason, champion=promoted)
            publish_on_commit(model)
    return deployment


def rollback(*, model: Model, expected_generation: int | None, actor: str, reason: str = "") -> Deployment:
    """Let the champion of before answer again."""
    with transaction.atomic():
        deployment = _locked(model, expected_generation)
        if deployment.previous is None:
            raise UnableToPromote(409, "no_previous_champion", "No champion came before this one.")
        _change(deployment, kind="rollback", actor=actor, reason=reason, champion=deployment.previous)
        publish_on_commit(model)
    return deployment


def servable_version(model: Model, name: str) -> Version:
    """Find a version of this model that can answer here."""
    version = get_version(model=model, version=name)
    if version.is_external:
        raise UnableToPromote(
            409, "version_has_no_artifact", f"Version {name} is external; upload its ONNX first."
        )
    return version


def _refuse_archived(versions: Iterable[Version]) -> None:
    """Raise Problem where a version is archived by now: `archive_version` waits for the same lock."""
    archived = Version.objects.filter(pk__in=[one.pk for one in versions]).exclude(archived_at=None).first()
    if archived is not None:
        raise UnableToPromote(
            409,
            "version_archived",
            f"Version {archived.version} is archived; restore it before it is deployed.",
        )


def _check_same_contract(champion: Version | None, promoted: Version) -> None:
    """Refuse a version that the champion's callers could not call the same way, or would read the wrong way."""
    if champion is None or champion.signature is None or promoted.signature is None:
        return
    difference, values = contract_difference(champion.signature, promoted.signature)
    if difference:
        raise UnableToPromote(
            409,
            "incompatible_signature",
            f"Version {promoted.version} has {difference} than the champion {champion.version}: {values}.",
        )


def _locked(model: Model, expected_generation: int | None) -> Deployment:
    deployment = (
        Deployment.objects.select_for_update(of=("self",))
        .select_related("champion", "previous", "canary")
        .get(model=model)
    )
    if expected_generation is not None and deployment.generation != expected_generation:
        raise Problem(
            412,
            "precondition_failed",
            f"The deployment is at generation {deployment.generation}, not {expected_generation}; read it again.",
        )
    return deployment


def _change(deployment: Deployment, *, kind: str, actor: str, reason: str, champion: Version) -> None:
    """Let a version answer, with its audit rows. A canary ends with the champion that it was compared with."""
    before = _state(deployment)
    deployment.previous, deployment.champion = deployment.champion, champion
    deployment.promoted_at = now()
    deployment.shadows.remove(champion)
    deployment.shadow_shares = {
        name: share for name, share in deployment.shadow_shares.items() if name != champion.version
    }
    _clear_canary(deployment)
    _record_change(deployment, before, kind=kind, actor=actor, reason=reason)


def _record_change(
    deployment: Deployment, before: dict[str, Any], *, kind: str, actor: str, reason: str
) -> None:
    """Save a deployment as its next generation, with the mark on every time axis and the audit row.

    The mark is at the newest event: charts show event time, which may be far from the clock.
    """
    deployment.generation += 1
    deployment.save()
    after = _state(deployment)
    change = DeploymentChange.objects.create(
        model=deployment.model,
        generation=deployment.generation,
        kind=kind,
        before=before,
        after=after,
        event_time=newest_event(deployment.model) or now(),
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
        "shadow_shares": dict(deployment.shadow_shares),
        "canary": describe_canary(deployment),
        "generation": deployment.generation,
    }
