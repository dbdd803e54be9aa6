"""Applies what a provider gives a person: roles in projects and teams, which it also takes away again.

What a person gave stays: a provider raises such a role for as long as its group says so and never lowers it, and takes
nobody out of a team that a person put them into. The last admin of a project stays one.

Of two roles the one that has all scopes of the other is the higher one. Where neither has, the one that was there
first counts: a person's, or the group's that the file names first.
"""

import logging
from collections.abc import Mapping

from django.db import transaction

from driftline.base.accounts.access.roles import role_names
from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import Membership, Project, Team, User, scopes_of_role
from driftline.base.accounts.services import record_audit
from driftline.sign_in.single_sign_on.configuration import Grant, ProviderSettings

log = logging.getLogger(__name__)


def apply_grants(*, user: User, provider: ProviderSettings, grants: Mapping[str, Grant]) -> None:
    """Make a person's memberships what the provider grants by project slug.

    Projects that do not exist are skipped, and so are roles that a project does not have. Where it has none of those
    that the file names, the membership stays as it is: a misspelt role takes nobody out of a project.
    """
    with transaction.atomic():
        memberships = Membership.objects.filter(user=user, granted_by__in=("", provider.id))
        given = memberships.exclude(granted_by="", granted_teams=[]).values("project")
        touched = Project.objects.filter(slug__in=grants) | Project.objects.filter(pk__in=given)
        for project in touched.select_for_update().order_by("pk"):
            member = Membership.objects.filter(project=project, user=user).select_related("user").first()
            if member is not None and member.granted_by not in ("", provider.id):
                continue  # another provider's, with its teams
            grant = grants.get(project.slug, Grant())
            if role := _highest(project, grant.roles):
                _set_teams(_give(member, project, user, provider, role), grant.teams, provider)
            elif member is not None and not grant.roles:
                _set_teams(member, frozenset(), provider)
                _take_back(member, provider)


def _highest(project: Project, roles: tuple[str, ...]) -> str:
    """Return the highest of the roles that the project has; empty without one."""
    highest, known = "", set(role_names(project))
    for role in roles:
        if role not in known:
            log.warning("role of the sign-in file is unknown", extra={"project": project.slug, "role": role})
        elif not highest or _is_higher(project, role, highest):
            highest = role
    return highest


def _is_higher(project: Project, role: str, other: str) -> bool:
    return scopes_of_role(project.pk, role) > scopes_of_role(project.pk, other)


def _give(
    member: Membership | None, project: Project, user: User, provider: ProviderSettings, role: str
) -> Membership:
    """Assign a role; of a person's and the provider's the higher one counts."""
    if member is None:
        member = Membership.objects.create(project=project, user=user, role=role, granted_by=provider.id)
        _record(member, provider, "member.join", after={"role": role})
        return member
    by_hand = member.role_by_hand if member.granted_by else member.role
    if by_hand and not _is_higher(project, role, by_hand):
        _become(member, provider, role=by_hand, granted_by="", role_by_hand="")
    else:
        _become(member, provider, role=role, granted_by=provider.id, role_by_hand=by_hand)
    return member


def _take_back(member: Membership, provider: ProviderSettings) -> None:
    """Take a role back that the provider gave; a person's comes back."""
    if member.granted_by != provider.id:
        return
    if member.role_by_hand != Role.ADMIN and member.is_last_admin:
        _record(member, provider, "member.last_admin_kept", after={"role": member.role})
    elif member.role_by_hand:
        _become(member, provider, role=member.role_by_hand, granted_by="", role_by_hand="")
    else:
        _record(member, provider, "member.remove", before={"role": member.role})
        member.delete()


def _become(
    member: Membership, provider: ProviderSettings, *, role: str, granted_by: str, role_by_hand: str
) -> None:
    """Store a role and where it is from; the last admin keeps theirs."""
    before = member.role
    if before == Role.ADMIN and role != Role.ADMIN and member.is_last_admin:
        _record(member, provider, "member.last_admin_kept", after={"role": before})
        return
    member.role, member.granted_by, member.role_by_hand = role, granted_by, role_by_hand
    member.save(update_fields=["role", "granted_by", "role_by_hand"])
    if before != role:
        _record(member, provider, "member.role", before={"role": before}, after={"role": role})


def _set_teams(member: Membership, wanted: frozenset[str], provider: ProviderSettings) -> None:
    """Put the member into the teams that the provider names, and take them out of those that it named before."""
    given = set(member.granted_teams)
    teams = {team.name: team for team in Team.objects.filter(project=member.project, name__in=given | wanted)}
    mine = set(member.teams.filter(name__in=teams).values_list("name", flat=True))
    for name in sorted((wanted & teams.keys()) - mine):
        teams[name].members.add(member)
        _record_team(teams[name], member, provider, "team.join")
    for name in sorted((given - wanted) & mine):
        teams[name].members.remove(member)
        _record_team(teams[name], member, provider, "team.leave")
    now_given = sorted(((wanted & teams.keys()) - mine) | (given & wanted & mine))
    if now_given != member.granted_teams:
        member.granted_teams = now_given
        member.save(update_fields=["granted_teams"])


def _record(member: Membership, provider: ProviderSettings, action: str, **change: dict[str, str]) -> None:
    record_audit(
        project=member.project, actor=provider.actor, action=action, subject=member.user.email, **change
    )


def _record_team(team: Team, member: Membership, provider: ProviderSettings, action: str) -> None:
    record_audit(
        project=team.project,
        actor=provider.actor,
        action=action,
        subject=team.name,
        after={"member": member.user.email},
    )
