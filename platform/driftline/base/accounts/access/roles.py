"""The roles of a project: three that every project has, and its own, each a name and a set of scopes.

Nobody makes, widens or gives a role with scopes that they do not have. The three are not changed, and a project always
keeps somebody in `admin`, which has all scopes: so whatever becomes of its own roles, nobody is locked out.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from driftline.base.accounts.access.rights import insufficient_scope
from driftline.base.accounts.access.scopes import SCOPE_OF, SCOPES_OF_ROLE, Role, Scope
from driftline.base.accounts.models import (
    MAX_ROLE_CHARACTERS,
    CustomRole,
    Invitation,
    Membership,
    Project,
    scopes_of_role,
)
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid, not_found

MAX_ROLES = 50
NAME = re.compile(rf"\w[\w .-]{{0,{MAX_ROLE_CHARACTERS - 1}}}")


def roles_of(project: Project) -> QuerySet[CustomRole]:
    """List the roles that a project made, with how many `members` have each and how many `invited` would.

    Who has one beneath a higher role of a sign-in provider is among the members.
    """
    has_it = Q(role=OuterRef("name")) | Q(role_by_hand=OuterRef("name"))
    waiting = Invitation.objects.filter(role=OuterRef("name"), accepted_at=None, withdrawn_at=None)
    return CustomRole.objects.filter(project=project).annotate(
        members=_count(Membership.objects.filter(has_it)), invited=_count(waiting)
    )


def _count(rows: QuerySet[Any]) -> Coalesce:
    grouped = rows.filter(project=OuterRef("project")).order_by().values("project")
    return Coalesce(Subquery(grouped.annotate(count=Count("pk")).values("count")), 0)


def get_role(*, project: Project, role_id: int) -> CustomRole:
    """Find one role that a project made; raises Problem 404."""
    role = roles_of(project).filter(pk=role_id).first()
    if role is None:
        raise not_found("role")
    return role


def role_names(project: Project) -> list[str]:
    """List what may be given in a project: the three built-in roles, then its own by name."""
    own = CustomRole.objects.filter(project=project).order_by("name").values_list("name", flat=True)
    return [*Role, *own]


def check_role(role: str, *, project: Project, scopes: Collection[str], actor: str) -> str:
    """Return the name of a role that may be given; nobody gives one with scopes that they do not have.

    Raises Problem 422 for an unknown name, 403 for a role that is too high.
    """
    known = role_names(project)
    if role not in known:
        raise invalid("/role", f"{role[:MAX_ROLE_CHARACTERS]!r} is not a role; use {', '.join(known)}.")
    _refuse_wider(scopes_of_role(project.pk, role), scopes, "/role", actor)
    return str(role)


def create_role(
    *, project: Project, name: str, scopes: Iterable[str], held: Collection[str], actor: str
) -> CustomRole:
    """Make a role; `held` are the scopes of who makes it.

    Raises Problem 422 for a name or scopes that cannot be, 403 for scopes that are not held, 409 for a name that is
    taken.
    """
    name, chosen = _name(name), _scopes(scopes)
    _refuse_wider(chosen, held, "/scopes", actor)
    with transaction.atomic():
        project = _lock(project)
        if taken := project.custom_roles.filter(name__iexact=name).first():
            raise Problem(409, "role_exists", f"There is a role {taken.name} already; choose another name.")
        if project.custom_roles.count() >= MAX_ROLES:
            raise Problem(
                409,
                "too_many_roles",
                f"A project has at most {MAX_ROLES} roles of its own; delete one first.",
            )
        role = CustomRole.objects.create(project=project, name=name, scopes=sorted(chosen))
        record_audit(project=project, actor=actor, action="role.create", subject=name, after=_state(role))
    return get_role(project=project, role_id=role.pk)


def set_scopes(
    *, role: CustomRole, scopes: Iterable[str], held: Collection[str], actor: str, own_role: str = ""
) -> CustomRole:
    """Set other scopes for a role; who has it may do that with their next request.

    `held` are the scopes of who does it, and `own_role` their role. Raises Problem 422 for scopes that cannot be, 403
    for added ones that are not held, and 409 where the person could not take it back.
    """
    chosen = _scopes(scopes)
    with transaction.atomic():
        _lock(role.project)
        role = get_role(project=role.project, role_id=role.pk)
        before = _state(role)
        _refuse_wider(chosen - role.allowed, held, "/scopes", actor)
        if role.name == own_role and SCOPE_OF["role"] not in chosen:
            raise Problem(
                409,
                "own_role",
                f"{role.name} is your own role: without the scope '{SCOPE_OF['role']}' you could not take this back. "
                "Ask another admin to change it.",
            )
        role.scopes = sorted(chosen)
        if _state(role) == before:
            return role
        role.save(update_fields=["scopes"])
        record_audit(
            project=role.project, actor=actor, action="role.update", subject=role.name, before=before,
            after=_state(role),
        )  # fmt: skip
    return role


def delete_role(*, role: CustomRole, actor: str) -> None:
    """Delete a role that nobody has; raises Problem 409 for one in use."""
    with transaction.atomic():
        _lock(role.project)
        role = get_role(project=role.project, role_id=role.pk)
        if uses := uses_of(role):
            raise Problem(
                409, "role_in_use", f"{role.name} is in use: {'; '.join(uses)}. Give them another role first."
            )
        record_audit(
            project=role.project, actor=actor, action="role.delete", subject=role.name, before=_state(role)
        )
        role.delete()


def uses_of(role: CustomRole) -> list[str]:
    """Return what keeps a role of `roles_of` from being deleted; nothing where it may be.

    Its counts come from one statement, so that somebody who is just joining by an invitation is in one of them.
    """
    counts = (
        (role.members, "member has it", "members have it"),  # type: ignore[attr-defined]
        (role.invited, "open invitation gives it", "open invitations give it"),  # type: ignore[attr-defined]
    )
    uses = [f"{count:,} {one if count == 1 else many}" for count, one, many in counts if count]
    groups = [
        f"the group {rule.group!r} of {provider.id} in the sign-in file gives it"
        for provider in settings.SIGN_IN.providers
        for rule in provider.roles
        if (rule.project, rule.role) == (role.project.slug, role.name)
    ]
    return uses + groups


def _refuse_wider(scopes: Collection[Scope], held: Collection[str], pointer: str, actor: str) -> None:
    missing = sorted(set(scopes).difference(held))
    if missing:
        raise insufficient_scope(held, {pointer: missing[0]}, actor=actor)


def _lock(project: Project) -> Project:
    """Lock the project, so that a role is not given while it is deleted."""
    return Project.objects.select_for_update().get(pk=project.pk)


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not NAME.fullmatch(name):
        raise invalid(
            "/name",
            f"A role's name has up to {MAX_ROLE_CHARACTERS} letters, digits, spaces, dots, hyphens and underscores.",
        )
    if name.lower() in SCOPES_OF_ROLE:
        raise invalid("/name", f"Every project has the role {name.lower()} already; choose another name.")
    return name


def _scopes(scopes: Iterable[str]) -> frozenset[Scope]:
    chosen = set(scopes)
    if unknown := chosen.difference(Scope):
        raise invalid("/scopes", f"{min(unknown)[:40]!r} is not a scope; use some of {', '.join(Scope)}.")
    if Scope.READ not in chosen:
        raise invalid(
            "/scopes", f"A role has the scope '{Scope.READ}': every member sees the project's pages."
        )
    return frozenset(scope for scope in Scope if scope in chosen)


def _state(role: CustomRole) -> dict[str, list[str]]:
    return {"scopes": [scope for scope in Scope if scope in role.scopes]}
