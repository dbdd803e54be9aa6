"""Writes of projects: made, renamed, archived and restored.

An archived project is hidden and read only: its pages open for its members, nothing of it is changed, no row is logged,
its models answer no request, and its rules are not judged. Restoring it undoes all of that.
"""

import re
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils.text import slugify

from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.hooks import list_active_work
from driftline.base.accounts.models import Membership, Project, User
from driftline.base.accounts.quotas import quotas_of
from driftline.base.accounts.services import create_project, record_audit
from driftline.base.accounts.signals import project_archived, project_restored, tokens_changed
from driftline.base.errors import Problem, invalid

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,49}")
MAX_NAME = 100
MAX_NAMED = 5
"""Pieces of work that a refusal names."""


def may_create_project(user: User) -> bool:
    """Return whether a person may make a project: staff, and admins of another one."""
    return user.is_staff or Membership.objects.filter(user=user, role=Role.ADMIN).exists()


def open_project(
    *, name: str, slug: str, owner: User, actor: str = "", beside: Project | None = None
) -> Project:
    """Make a project with its owner as the first admin; an empty slug is made of the name.

    Unless the owner is an operator it has the quotas of the project that they make it `beside`.
    Raises Problem 403 where the person may not, 422 for a name or slug that cannot be or is taken.
    """
    if not may_create_project(owner):
        raise Problem(403, "forbidden", "Only operators and admins of a project make another one.")
    name = _name(name)
    slug = slug.strip() or slugify(name)[:50].strip("-")
    if not _SLUG.fullmatch(slug):
        raise invalid(
            "/slug",
            f"{slug[:60]!r} is no address; use up to 50 small letters, digits, hyphens and underscores.",
        )
    of_beside = quotas_of(beside) if beside is not None and not owner.is_staff else {}
    quotas = {name: most for name, most in of_beside.items() if most is not None}
    try:
        return create_project(slug=slug, name=name, owner=owner, actor=actor, quotas=quotas)
    except IntegrityError as error:
        raise invalid(
            "/slug", f"There is a project with the address {slug} already; choose another.", "slug_taken"
        ) from error


def rename_project(*, project: Project, name: str, actor: str) -> None:
    """Set another name for a project; its address stays. Raises Problem 403 where it is archived."""
    name, before = _name(name), project.name
    if name == before:
        return
    refuse_archived(project)
    with transaction.atomic():
        project.name = name
        project.save(update_fields=["name"])
        record_audit(
            project=project, actor=actor, action="project.rename", subject=project.slug,
            before={"name": before}, after={"name": name},
        )  # fmt: skip


def archive_project(*, project: Project, actor: str, now: datetime) -> None:
    """Put a project aside; doing it twice changes nothing.

    Raises Problem 409 while work is under way that would change it afterwards.
    """
    with transaction.atomic():
        if not Project.objects.filter(pk=project.pk, archived_at=None).update(archived_at=now):
            return
        _refuse_active(project)
        project.archived_at = now
        record_audit(project=project, actor=actor, action="project.archive", subject=project.slug)
        project_archived.send(sender=Project, project=project)
        tokens_changed.send(sender=Project)


def restore_project(*, project: Project, actor: str) -> None:
    """Bring an archived project back; doing it twice changes nothing."""
    with transaction.atomic():
        archived_at = Project.objects.select_for_update().get(pk=project.pk).archived_at
        if archived_at is None:
            return
        project.archived_at = None
        project.save(update_fields=["archived_at"])
        record_audit(project=project, actor=actor, action="project.restore", subject=project.slug)
        project_restored.send(sender=Project, project=project, archived_at=archived_at)
        tokens_changed.send(sender=Project)


def refuse_archived(project: Project) -> None:
    """Raise Problem 403 where a project is archived."""
    if project.archived_at is not None:
        raise Problem(
            403,
            "project_archived",
            f"The project {project.name} is archived and read only; an admin restores it under Settings, Project.",
        )


def _refuse_active(project: Project) -> None:
    """Refuse to archive a project that would change afterwards."""
    if active := list_active_work(project):
        shown = ", ".join(active[:MAX_NAMED])
        more = f" and {len(active) - MAX_NAMED:,} more" if len(active) > MAX_NAMED else ""
        raise Problem(
            409,
            "project_active",
            f"{project.name} is still at work: {shown}{more}. Wait for it or cancel it, then archive the project.",
        )


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not 0 < len(name) <= MAX_NAME:
        raise invalid("/name", f"A project needs a name of at most {MAX_NAME} characters.")
    return name
