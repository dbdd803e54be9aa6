"""Quotas of a project: what an operator lets it have; none is set by default.

Each is enforced where its things are made: models when one is made, rows where they are logged and where models are
asked, with the budgets of `rate_budget.py` in each process. What a project stores is measured every ten minutes
(`driftline.operations.capacity`), and once it reaches the quota nothing is added until it holds less.
"""

from typing import Any

from django.db import transaction

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.accounts.signals import tokens_changed
from driftline.base.byte_sizes import format_bytes
from driftline.base.errors import Problem, invalid

MAX_QUOTA = 1_000_000_000
MAX_QUOTA_BYTES = 1 << 60
MEASURED_EVERY_SECONDS = 600
"""As the clock in `driftline.celery` sends it."""
FIELDS = ("max_models", "max_rows_per_second", "max_bytes")


def quotas_of(project: Project) -> dict[str, int | None]:
    """Return the quotas of a project by their names; None is no limit."""
    return {name: getattr(project, name) for name in FIELDS}


def set_quotas(*, project: Project, actor: str, **quotas: int) -> None:
    """Set quotas by their names, 0 for no limit; what is there already stays, whatever it takes.

    Raises Problem 422 for a number that cannot be.
    """
    for name, value in quotas.items():
        most = MAX_QUOTA_BYTES if name == "max_bytes" else MAX_QUOTA
        if not 0 <= value <= most:
            raise invalid(
                f"/{name}", f"{name} is {value}; use a number from 1 to {most:,}, or 0 for no limit."
            )
    with transaction.atomic():
        locked = Project.objects.select_for_update().get(pk=project.pk)
        before = quotas_of(locked)
        for name, value in quotas.items():
            setattr(project, name, value or None)
        project.save(update_fields=list(quotas))
        note_quotas(project=project, before=before, actor=actor)


def note_quotas(*, project: Project, before: dict[str, Any], actor: str) -> None:
    """Audit and publish the quotas of a project that was saved; nothing happens where they are as `before`.

    Serving processes and the API follow within a second.
    """
    after = quotas_of(project)
    if after == before:
        return
    with transaction.atomic():
        record_audit(
            project=project, actor=actor, action="project.quotas", subject=project.slug, before=before, after=after
        )  # fmt: skip
        tokens_changed.send(sender=Project)


def note_stored_bytes(*, project: Project, stored_bytes: int) -> None:
    """Note what a project holds; who adds to it is refused, or let in again, within a second."""
    if project.stored_bytes == stored_bytes:
        return
    was_full, project.stored_bytes = project.is_full, stored_bytes
    with transaction.atomic():
        project.save(update_fields=["stored_bytes"])
        if project.is_full != was_full:
            tokens_changed.send(sender=Project)


def refuse_full(project: Project) -> None:
    """Raise Problem 429 where a project holds as much as it may."""
    if project.is_full:
        raise Problem(429, "quota_reached", describe_full(project), retry_after=MEASURED_EVERY_SECONDS)


def describe_full(project: Project) -> str:
    """Return how much a full project holds of how much, and what makes room."""
    return (
        f"{project.name} holds {format_bytes(project.stored_bytes or 0)} of a quota of "
        f"{format_bytes(project.max_bytes or 0)}, measured every ten minutes; keep rows for fewer days, delete what is "
        "not needed, or ask an operator to raise the quota."
    )
