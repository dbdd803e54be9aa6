"""Changes of what belongs to a model, such as a segment or an annotation: one at a time, each with an audit row."""

from typing import Any

from driftline.base.accounts.services import record_audit
from inference.registry.models import Model


def lock_model(model: Model) -> None:
    """Lock a model: changes of what belongs to it happen one after the other, so that limits hold.

    `no_key` lets a worker write the rows that refer to the model: a change may wait for it to end.
    """
    Model.objects.select_for_update(no_key=True).get(pk=model.pk)


def audit_part(part: Any, action: str, actor: str, *, before: Any = None, after: Any = None) -> None:
    """Record in the caller's transaction who changed a row that has a `model`: by its name, or else by its number."""
    record_audit(
        project=part.model.project,
        actor=actor,
        action=action,
        subject=f"{part.model.name}/{getattr(part, 'name', part.pk)}",
        before=before,
        after=after,
    )
