"""Hides references and data sets from lists, or restores them: nothing of them is deleted.

Versions are archived by the registry, beside the deployments that must not use one.
"""

from django.db import transaction
from django.db.models import Q

from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.errors import Problem
from inference.registry.models import Dataset
from monitors.definitions.models import Reference
from monitors.deletion import name_of

_IN_USE = Q(is_active=True) | Q(
    state=Reference.State.BUILDING
)  # one that is built is used as soon as it is ready


def archive_reference(*, reference: Reference, is_archived: bool, actor: str) -> None:
    """Hide a reference from lists and from the choice of a file, or restore it.

    Past windows keep what they were compared with. Raises Problem `reference_in_use` (409) for the current one.
    """
    with transaction.atomic():
        locked = Reference.objects.select_for_update(of=("self",)).filter(pk=reference.pk)
        if is_archived and locked.filter(_IN_USE).exists():
            detail = "Windows are compared with this reference, or will be once it is built; use another one first."
            raise Problem(409, "reference_in_use", detail)
        _set_archived(
            reference, is_archived=is_archived, actor=actor, kind="reference", subject=str(reference.version)
        )


def archive_dataset(*, dataset: Dataset, is_archived: bool, actor: str) -> None:
    """Hide a data set from lists, or restore it; raises Problem `dataset_in_use` (409) for the current reference's."""
    with transaction.atomic():
        users = Reference.objects.select_for_update(of=("self",)).filter(_IN_USE, dataset=dataset)
        if is_archived and users.exists():
            detail = (
                f"Windows are compared with the data set {name_of(dataset)}; use another reference first."
            )
            raise Problem(409, "dataset_in_use", detail)
        _set_archived(
            dataset,
            is_archived=is_archived,
            actor=actor,
            kind="dataset",
            subject=f"{dataset.model} {name_of(dataset)}",
        )


def _set_archived(
    row: Reference | Dataset, *, is_archived: bool, actor: str, kind: str, subject: str
) -> None:
    row.refresh_from_db(fields=["archived_at"])
    if is_archived == (row.archived_at is not None):
        return
    row.archived_at = now() if is_archived else None
    row.save(update_fields=["archived_at"])
    action = f"{kind}.archive" if is_archived else f"{kind}.restore"
    record_audit(project=row.model.project, actor=actor, action=action, subject=subject, after={"id": row.pk})
