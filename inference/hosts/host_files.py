"""The files that a host's home gets from the main server: keys, and models by their digest."""

import secrets
import time
from collections.abc import Collection, Iterable
from pathlib import Path

import msgspec

from driftline.base.durable_files import write_file
from inference.hosts.published_plan import KEYS
from inference.prediction_log.spool.sealing import KEY_FILE, master_keys, wrapped_by, wrapped_segment_keys
from inference.registry.files.artifacts import relative_path, remove_leftovers
from inference.serving.plan import Plan, PlanModel

UNUSED_SECONDS = 86_400.0
"""So long after it came, the file of a version that is no longer served is removed."""


def write_keys(home: Path, keys: dict[str, str]) -> None:
    """Replace the keys that changed. Keys that sealed what still waits in the spool stay behind the new ones."""
    for name in KEYS:
        path, text = home / "keys" / name, keys.get(name, "")
        if not text:
            continue
        if path == home / KEY_FILE:
            text = "\n".join([*text.split(), *_still_needed(home, text.split())])
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(path, text.encode(), mode=0o600)


def _still_needed(home: Path, given: list[str]) -> list[str]:
    used = {wrapped_by(wrapped) for wrapped in wrapped_segment_keys(home)}
    return [one.text for one in master_keys(home) if one.name in used and one.text not in given]


def instance_of(home: Path) -> str:
    """Name this home, by chance and for as long as it lasts: two machines never have one name."""
    path = home / "host_instance"
    if not path.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(path, secrets.token_hex(16).encode(), mode=0o600)
    return path.read_text()


def deployed_digests(plan: Plan) -> list[str]:
    """Return the digests of the files that answer, or get copies."""
    versions = (
        version.sha256
        for model in plan.models
        for version in model.versions
        if _is_deployed(model, version.version)
    )
    return [digest for digest in dict.fromkeys(versions) if digest]


def missing_files(home: Path, plan: Plan) -> list[str]:
    """Return the digests of files that are not here, those that are deployed first."""
    others = (version.sha256 for model in plan.models for version in model.versions)
    wanted = dict.fromkeys([*deployed_digests(plan), *(digest for digest in others if digest)])
    return [digest for digest in wanted if not (home / relative_path(digest)).exists()]


def _is_deployed(model: PlanModel, version: str) -> bool:
    canary = model.canary.version if model.canary else None
    return version in (model.champion, model.previous, canary, *model.shadows, *model.aliases.values())


def servable_part(plan: Plan, before: Plan | None, missing: Collection[str]) -> tuple[Plan, set[int]]:
    """Return what of a plan can be served without the `missing` files, and the ids of models that wait for theirs.

    Tokens hold at once. A model that lacks deployed files is served as before, else not at all.
    """
    known = {model.id: model for model in before.models} if before else {}
    away = set(missing)
    models: list[PlanModel] = []
    waiting: set[int] = set()
    for model in plan.models:
        lacking = {version.version for version in model.versions if version.sha256 in away}
        if not any(_is_deployed(model, version) for version in lacking):
            models.append(_without(model, lacking))
            continue
        waiting.add(model.id)
        if model.id in known:
            models.append(known[model.id])
    return msgspec.structs.replace(plan, models=models), waiting


def _without(model: PlanModel, lacking: set[str]) -> PlanModel:
    if not lacking:
        return model
    kept = [version for version in model.versions if version.version not in lacking]
    return msgspec.structs.replace(model, versions=kept)


def remove_unused(home: Path, plans: Iterable[Plan]) -> None:
    """Remove files of versions that are not served any more, a day after they came at the earliest, and left-overs."""
    remove_leftovers(home)
    used = {version.sha256 for plan in plans for model in plan.models for version in model.versions}
    for path in (home / "artifacts").glob("??/*.onnx"):
        if path.stem not in used and time.time() - path.stat().st_mtime > UNUSED_SECONDS:
            path.unlink(missing_ok=True)
