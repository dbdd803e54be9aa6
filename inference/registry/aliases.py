"""Names that people give to versions, such as `stable`; a name points at one version of a model at a time."""

import re

from django.db import transaction

from driftline.base.accounts.services import record_audit
from driftline.base.errors import invalid, not_found
from inference.registry.deployments import servable_version
from inference.registry.models import Alias, Model
from inference.registry.plan.publishing import publish_on_commit

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_alias_name(name: str) -> None:
    """Refuse what cannot be an alias."""
    if not _NAME.fullmatch(name):
        raise invalid("/alias", f"{name[:64]!r} is not an alias; use 1 to 64 letters, digits, dots, dashes.")


def set_alias(*, model: Model, name: str, version: str, actor: str) -> Alias:
    """Point `name` at a servable version of the model, wherever it pointed before."""
    check_alias_name(name)
    target = servable_version(model, version)
    with transaction.atomic():
        before = Alias.objects.select_for_update().filter(model=model, name=name).first()
        if before is not None and before.version_id == target.pk:
            return before
        alias, _ = Alias.objects.update_or_create(model=model, name=name, defaults={"version": target})
        _record(model, "alias.set", name, before, actor, after={"version": target.version})
    return alias


def remove_alias(*, model: Model, name: str, actor: str) -> None:
    """Take the name away; the version stays."""
    with transaction.atomic():
        alias = Alias.objects.select_for_update().filter(model=model, name=name).first()
        if alias is None:
            raise not_found("alias")
        alias.delete()
        _record(model, "alias.remove", name, alias, actor, after=None)


def _record(
    model: Model, action: str, name: str, before: Alias | None, actor: str, after: dict[str, str] | None
) -> None:
    record_audit(
        project=model.project,
        actor=actor,
        action=action,
        subject=f"{model.name} {name}",
        before={"version": before.version.version} if before else None,
        after=after,
    )
    publish_on_commit(model)
