"""Writes of the registry: models, versions, and which version answers."""

import re
from collections.abc import Collection, Iterable
from typing import Any

from django.db import IntegrityError, transaction

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import FieldFault, Problem, invalid
from driftline.base.strict_json import escape_pointer
from inference.prediction_log.spool.privacy import HASH, KEEP, POLICIES
from inference.registry.contract.positive_class import choose_positive_class
from inference.registry.deployments import locked_deployment
from inference.registry.models import (
    Autonomy,
    Deployment,
    Model,
    ModelTask,
    RowsKept,
    SchemaPolicy,
)
from inference.registry.plan.publishing import publish_on_commit
from inference.registry.selectors import privacies, signature_of
from inference.registry.signals import (
    model_created,
    privacy_changed,
    rows_no_longer_kept,
    text_features_changed,
)
from inference.texts import text_parts

RESERVED_NAMES = {"new"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TAG = re.compile(r"[\w][\w.:/-]{0,49}")
MAX_TAGS = 20
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
    check_choice("/task", task, ModelTask.values)
    kept_tags = check_tags(tags)
    check_choice("/autonomy", autonomy, Autonomy.values)
    _check_objectives(objectives or {})
    _check_retention("retention_days", retention_days)
    _check_retention("summary_retention_days", summary_retention_days)
    _check_privacy(privacy or {})
    check_choice("/schema_policy", schema_policy, SchemaPolicy.values)
    check_choice("/rows_kept", rows_kept, RowsKept.values)
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
        check_choice("/task", changes["task"], ModelTask.values)
        _refuse_task_with_versions(model)
    if "owner" in changes:
        changes["owner"] = changes["owner"].strip()
    if "tags" in changes:
        changes["tags"] = check_tags(changes["tags"])
    if "autonomy" in changes:
        check_choice("/autonomy", changes["autonomy"], Autonomy.values)
    if "objectives" in changes:
        _check_objectives(changes["objectives"])
    for name in ("retention_days", "summary_retention_days"):
        _check_retention(name, changes.get(name))
    _check_privacy(changes.get("privacy", {}))
    if "schema_policy" in changes:
        check_choice("/schema_policy", changes["schema_policy"], SchemaPolicy.values)
    if "rows_kept" in changes:
        check_choice("/rows_kept", changes["rows_kept"], RowsKept.values)
    if "text_features" in changes:
        changes["text_features"] = _check_text_features(changes["text_features"])
        _check_text_parts(model, changes["text_features"])
    _check_thumbnail_share(changes.get("thumbnail_share", 0.0))
    positive_class = changes.pop("positive_class", None)
    with transaction.atomic():
        if positive_class is not None:
            model.deployment = locked_deployment(model, None)
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
    """Add some tags to each of these models, or take some away; returns how many models changed."""
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


def check_choice(pointer: str, value: str, choices: Iterable[str]) -> None:
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
        check_choice(f"/privacy/{escape_pointer(name)}", policy, POLICIES)


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


# -- deployment --------------------------------------------------------------------------------------------------------
