"""What differs by now from the document that was applied last."""

from dataclasses import dataclass
from datetime import datetime

from driftline.base.accounts.models import Project
from driftline.operations.configuration.document import Configuration, stored_configuration
from driftline.operations.configuration.items import Item
from driftline.operations.configuration.planning import Action, ItemChange, plan
from driftline.operations.models import AppliedConfiguration


@dataclass(frozen=True)
class Managed:
    """When a thing was configured by a document, by whom, and the change that would make it so again."""

    applied_at: datetime
    applied_by: str
    change: ItemChange | None


def differences(project: Project) -> tuple[AppliedConfiguration, list[ItemChange]] | None:
    """List what applying the last document again would do; None where none was applied."""
    applied = AppliedConfiguration.objects.filter(project=project).first()
    if applied is None:
        return None
    return applied, plan(project, stored_configuration(applied.document))


def managed(project: Project, item: Item) -> Managed | None:
    """Return how a thing stands to the last document; None where it does not name it."""
    applied = AppliedConfiguration.objects.filter(project=project).first()
    if applied is None:
        return None
    document = _only(stored_configuration(applied.document), item)
    if all(item not in wanted for _, wanted in document.items()):
        return None
    changes = {one.item: one for one in plan(project, document) if one.action is not Action.DELETE}
    return Managed(applied.applied_at, applied.applied_by, changes.get(item))


def _only(document: Configuration, item: Item) -> Configuration:
    """Narrow a document to what one thing stands in, so that nothing else is read."""
    if not item.model:
        return document.model_copy(update={"models": {}})
    models = {name: model for name, model in document.models.items() if name == item.model}
    return Configuration.model_construct({"models"}, models=models)
