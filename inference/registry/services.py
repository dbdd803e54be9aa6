"""Writes of the registry: models, versions, and which version answers."""

import re
from collections.abc import Collection, Iterable
from typing import Any

from django.db import IntegrityError, transaction

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import FieldFault, Problem, invalid
from driftline.base.http.settings_schema import check_settings
from driftline.base.strict_json import escape_pointer
from inference.prediction_log.spool.privacy import HASH, KEEP
from inference.registry.contract.positive_class import choose_positive_class
from inference.registry.deployments import locked_deployment
from inference.registry.models import (
    Deployment,
    Model,
    ModelTask,
    RowsKept,
)
from inference.registry.plan.publishing import SERVED_SETTINGS, publish_on_commit
from inference.registry.selectors import privacies, signature_of
from inference.registry.settings import ModelSettings
from inference.registry.signals import (
    model_created,
    privacy_changed,
    rows_no_longer_kept,
    text_features_changed,
)
from inference.texts import text_parts

RESERVED_NAMES = {"new"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


# -- models ------------------------------------------------------------------------------------------------------------
def create_model(*, project: Project, name: str, task: str, actor: str, **given: Any) -> Model:
    """Create a model with an empty deployment; `given` are some of its settings.

    Raises Problem 409 where the project has as many models as its quota allows, or one of this name.
    """
    check_model_name(name)
    check_choice("/task", task, ModelTask.values)
    settings = check_settings(ModelSettings, given)
    settings["privacy"] = _merge_privacy({}, settings.get("privacy", {}))
    try:
        with transaction.atomic():
            _refuse_model_too_many(project)
            model = Model.objects.create(project=project, name=name, task=task, **settings)
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
    """Change some settings, of privacy that of the features that are named; the positive class of the champion; or the
    task, which what is logged and served is read by, so that it stays from the first version on.

    With `rows_kept` none the rows that are stored are dropped once they are summarised. Raises Problem.
    """
    task, positive_class = changes.pop("task", model.task), changes.pop("positive_class", None)
    changes = check_settings(ModelSettings, changes)
    if task != model.task:
        check_choice("/task", task, ModelTask.values)
        _refuse_task_with_versions(model)
        changes["task"] = task
    if "text_features" in changes:
        _check_text_parts(model, changes["text_features"])
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
    *, models: Iterable[Model], add: Collection[str] = (), remove: Collection[str] = (), actor: str
) -> int:
    """Add some tags to each of these models, or take some away; returns how many models changed."""
    removed, changed = {tag.strip() for tag in remove}, 0
    with transaction.atomic():
        for model in models:
            tags = sorted({*model.tags, *(tag.strip() for tag in add)} - removed)
            if tags != model.tags:
                update_model(model=model, actor=actor, tags=tags)
                changed += 1
    return changed


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
        transaction.on_commit(privacies.forget)
    if any(changes[name] != before[name] for name in SERVED_SETTINGS if name in changes):
        publish_on_commit(model)
    if changes.get("text_features", before.get("text_features")) != before.get("text_features"):
        text_features_changed.send(sender=Model, model=model)
    if (before.get("rows_kept"), changes.get("rows_kept")) == (RowsKept.ALL, RowsKept.NONE):
        rows_no_longer_kept.send(sender=Model, model=model)


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


def _merge_privacy(known: dict[str, str], changes: dict[str, str]) -> dict[str, str]:
    """Change the policies of the features that are named; `keep` is what is not written down."""
    merged = known | changes
    return {name: merged[name] for name in sorted(merged) if merged[name] != KEEP}


def _check_hashed(model: Model) -> None:
    """Refuse to hash what a version takes as a number: its summaries could not be added to those of before."""
    for version in model.versions.filter(signature__isnull=False):
        for feature in signature_of(version).features:
            if model.privacy.get(feature.name) == HASH and feature.type != "string":
                raise number_cannot_be_hashed(feature.name)


def number_cannot_be_hashed(feature: str) -> Problem:
    detail = f"The feature {feature!r} is a number, and only text is hashed; drop it, or send it as text."
    return invalid(f"/privacy/{escape_pointer(feature)}", detail, "not_text")
