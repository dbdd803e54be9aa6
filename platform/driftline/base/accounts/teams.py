"""Teams: named groups of a project's members.

A model belongs to the team that is named as its owner, and a channel with the target `@name` sends to its members.
Models, routes and channels refer to a team by its name, so the name does not change.
"""

import re
from collections.abc import Iterable

from django.db import transaction
from django.db.models import QuerySet

from driftline.base.accounts.members import members_of
from driftline.base.accounts.models import Membership, Project, Team
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid, not_found

MAX_TEAMS = 200
NAME = re.compile(r"\w[\w .-]{0,98}")


def teams_of(project: Project) -> QuerySet[Team]:
    """List the teams of a project with their members."""
    return Team.objects.filter(project=project).prefetch_related("members__user")


def get_team(*, project: Project, team_id: int) -> Team:
    """Find one team of a project; raises Problem 404."""
    team = teams_of(project).filter(pk=team_id).first()
    if team is None:
        raise not_found("team")
    return team


def addresses_of(project: Project, name: str) -> list[str] | None:
    """Return the e-mail addresses of a team's members who can sign in; None where there is no such team."""
    team = teams_of(project).filter(name=name).first()
    if team is None:
        return None
    return sorted(member.user.email for member in team.members.all() if member.user.is_active)


def create_team(*, project: Project, name: str, emails: Iterable[str], actor: str) -> Team:
    """Make a team of members, who are named by their addresses.

    Raises Problem 422 for a name that cannot be or somebody who is no member, 409 for a name that is taken.
    """
    name = " ".join(name.split())
    if not NAME.fullmatch(name):
        raise invalid(
            "/name", "A team's name has up to 99 letters, digits, spaces, dots, hyphens and underscores."
        )
    with transaction.atomic():
        project = Project.objects.select_for_update().get(pk=project.pk)
        if project.teams.filter(name=name).exists():
            raise Problem(409, "team_exists", f"There is a team {name} already; choose another name.")
        if project.teams.count() >= MAX_TEAMS:
            raise Problem(
                409, "too_many_teams", f"A project has at most {MAX_TEAMS} teams; remove one first."
            )
        members = _members(project, emails)
        team = Team.objects.create(project=project, name=name)
        team.members.set(members)
        record_audit(project=project, actor=actor, action="team.create", subject=name, after=_state(members))
    return team


def set_members(*, team: Team, emails: Iterable[str], actor: str) -> Team:
    """Replace a team's members; raises Problem 422 for somebody who is not in the project."""
    with transaction.atomic():
        Project.objects.select_for_update().get(pk=team.project_id)
        members, before = _members(team.project, emails), _state(team.members.select_related("user"))
        if before == _state(members):
            return team
        team.members.set(members)
        record_audit(
            project=team.project, actor=actor, action="team.update", subject=team.name, before=before,
            after=_state(members),
        )  # fmt: skip
    return get_team(project=team.project, team_id=team.pk)


def delete_team(*, team: Team, actor: str) -> None:
    """Delete a team; models keep its name as their owner."""
    with transaction.atomic():
        record_audit(
            project=team.project, actor=actor, action="team.delete", subject=team.name,
            before=_state(team.members.select_related("user")),
        )  # fmt: skip
        team.delete()


def _members(project: Project, emails: Iterable[str]) -> list[Membership]:
    wanted = {email.strip().lower() for email in emails}
    found = {one.user.email.lower(): one for one in members_of(project)}
    if missing := sorted(wanted - found.keys()):
        raise invalid("/members", f"{missing[0][:64]!r} is no member of this project; invite them first.")
    return [found[email] for email in sorted(wanted)]


def _state(members: Iterable[Membership]) -> dict[str, list[str]]:
    return {"members": sorted(member.user.email for member in members)}
