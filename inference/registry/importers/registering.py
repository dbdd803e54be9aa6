"""Registers planned models through the ordinary intake. Done again it changes nothing."""

import hashlib
from dataclasses import dataclass, field

import msgspec
from django.db import transaction

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from inference.registry.aliases import set_alias
from inference.registry.importers.planning import PlannedModel
from inference.registry.importers.source_model import NotImported, SourceVersion
from inference.registry.lineage import Lineage
from inference.registry.models import Model
from inference.registry.selectors import get_model
from inference.registry.services import create_model
from inference.registry.versions import upload_version


@dataclass
class Registered:
    """What became of a model: versions that are `new` and that were `known`, aliases set, and what did not go."""

    champion: str | None = None
    new: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    left: list[NotImported] = field(default_factory=list)


def find_model(project: Project, name: str) -> Model | None:
    """Find the model of this name that the project has already."""
    return Model.objects.of_project(project).filter(name=name).first()


def foresee(planned: PlannedModel, *, project: Project) -> Registered:
    """Return what `register` would do."""
    model = find_model(project, planned.found.name)
    result = Registered(champion=_champion(model) if model else None)
    held = dict(model.versions.values_list("version", "sha256")) if model else {}
    for version in planned.versions:
        with version.file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if version.name not in held:
            result.new.append(version.name)
        elif held[version.name] == digest:
            result.known.append(version.name)
        else:
            result.left.append(
                NotImported(f"version {version.name[:64]}", "another file has this version's name here")
            )
    there = {*result.new, *result.known}
    result.champion = result.champion or next(iter(result.new), None)
    result.aliases = [
        f"{name} for version {target}" for name, target in planned.found.aliases.items() if target in there
    ]
    return result


def register(planned: PlannedModel, *, project: Project, actor: str) -> Registered:
    """Create the model where it is not there, and its versions and aliases; the first version becomes champion.

    A model that is there keeps its champion, and an alias of it that points elsewhere stays. What a service refuses
    is told in `left`, and the rest goes on.
    """
    result = Registered()
    model = find_model(project, planned.found.name)
    for version in planned.versions:
        try:
            model = _store(planned, model, version, project, actor, result)
        except Problem as problem:
            result.left.append(NotImported(f"version {version.name[:64]}", problem.detail))
    if model is not None:
        for name, target in planned.found.aliases.items():
            _set_alias(model, name, target, actor, result)
        result.champion = _champion(model)
    return result


def _store(
    planned: PlannedModel,
    model: Model | None,
    version: SourceVersion,
    project: Project,
    actor: str,
    result: Registered,
) -> Model:
    """Upload one version, and create the model with its first: together, or neither."""
    with transaction.atomic():
        if model is None:
            model = create_model(
                project=project, name=planned.found.name, task=planned.task or "", actor=actor
            )
        with version.file.open("rb") as stream:
            stored, is_new = upload_version(
                model=model,
                stream=stream,
                metadata=msgspec.json.encode(planned.found.metadata),
                lineage=Lineage(trigger="import_models", parameters=dict(planned.found.origin)),
                actor=actor,
                name=version.name,
            )
    (result.new if is_new else result.known).append(stored.version)
    return model


def _set_alias(model: Model, name: str, target: str, actor: str, result: Registered) -> None:
    held = model.aliases.filter(name=name).select_related("version").first()
    if held is not None and held.version.version != target:
        result.left.append(
            NotImported(f"label {name[:64]}", f"here it points at version {held.version}; move it by hand")
        )
        return
    try:
        set_alias(model=model, name=name, version=target, actor=actor)
    except Problem as problem:
        result.left.append(NotImported(f"label {name[:64]}", problem.detail))
        return
    result.aliases.append(f"{name} for version {target}")


def _champion(model: Model) -> str | None:
    champion = get_model(project=model.project, name=model.name).deployment.champion
    return champion.version if champion else None
