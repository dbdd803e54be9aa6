"""The members of a project: their roles, when they were seen, and that an admin always remains."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from driftline.base.accounts.access.roles import check_role
from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import Membership, Project
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, not_found

SEEN_NOTED_EVERY = timedelta(minutes=5)


def members_of(project: Project) -> QuerySet[Membership]:
    """List the members of a project with their accounts."""
    return Membership.objects.filter(project=project).select_related("user")


def get_member(*, project: Project, member_id: int) -> Membership:
    """Find one member of a project; raises Problem 404."""
    member = members_of(project).filter(pk=member_id).first()
    if member is None:
        raise not_found("member")
    return member


def note_seen(membership: Membership, *, now: datetime) -> None:
    """Note that a member looked at the project, at most once in five minutes."""
    before = now - SEEN_NOTED_EVERY
    if membership.last_seen_at is None or membership.last_seen_at < before:
        stale = Q(last_seen_at=None) | Q(last_seen_at__lt=before)
        Membership.objects.filter(stale, pk=membership.pk).update(last_seen_at=now)


def change_role(*, member: Membership, role: str, scopes: Collection[str], actor: str) -> Membership:
    """Assign another role to a member; `scopes` are those of who does it. The same role again changes nothing.

    Raises Problem 422 for an unknown role, 403 for one with scopes that they lack, and 409 where the project would
    have no admin any more.
    """
    with transaction.atomic():
        member = _lock_member(member)
        chosen = check_role(role, project=member.project, scopes=scopes, actor=actor)
        before = member.role
        if before == chosen:
            return member
        if chosen != Role.ADMIN:
            _refuse_last_admin(member)
        member.role, member.granted_by, member.role_by_hand = chosen, "", ""
        member.save(update_fields=["role", "granted_by", "role_by_hand"])
        record_audit(
            project=member.project,
            actor=actor,
            action="member.role",
            subject=member.user.email,
            before={"role": before},
            after={"role": chosen},
        )
    return member


def remove_member(*, member: Membership, actor: str) -> None:
    """Take a person out of a project. Its pages are closed to them from then on; their account and their acts stay.

    Raises Problem 409 for the last admin.
    """
    with transaction.atomic():
        member = _lock_member(member)
        _refuse_last_admin(member)
        record_audit(
            project=member.project,
            actor=actor,
            action="member.remove",
            subject=member.user.email,
            before={"role": member.role},
        )
        member.delete()


def _lock_member(member: Membership) -> Membership:
    """Lock the project, so that of two admins who remove each other one is refused, and read the member again."""
    Project.objects.select_for_update().get(pk=member.project_id)
    return get_member(project=member.project, member_id=member.pk)


def _refuse_last_admin(member: Membership) -> None:
    if member.is_last_admin:
        raise Problem(
            409,
            "last_admin",
            f"{member.user.email} is the only admin of {member.project.name}; make somebody else an admin first.",
        )
