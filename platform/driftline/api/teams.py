"""Teams of a project's members over HTTP."""

from typing import Annotated, Self

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts import teams
from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.accounts.models import Team
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page, ResponseBody, Time

router = Router(tags=["members"])
type Address = Annotated[str, Field(max_length=254)]
MAX_MEMBERS = 1_000


class TeamOut(ResponseBody, frozen=True):
    """A named group of members, by their e-mail addresses."""

    id: int
    name: str
    members: list[str]
    created_at: Time

    @classmethod
    def of(cls, team: Team) -> Self:
        members = sorted(member.user.email for member in team.members.all())
        return cls(id=team.pk, name=team.name, members=members, created_at=team.created_at)


class NewTeam(Body):
    name: str = Field(
        max_length=100, description="what owners of models and targets of channels say; it stays"
    )
    members: list[Address] = Field([], max_length=MAX_MEMBERS, description="e-mail addresses of members")


class TeamChanges(Body):
    members: list[Address] = Field(max_length=MAX_MEMBERS, description="all of them; who is missing leaves")


@router.get("/teams", auth=Scoped(Scope.READ), response=Page[TeamOut])
def list_teams(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[TeamOut]:
    """List the teams of the project."""
    rows = teams.teams_of(caller_of(request).project)
    return page(rows, TeamOut.of, by=("name", "pk"), cursor=cursor, limit=limit)


@router.post("/teams", auth=Scoped(SCOPE_OF["team"]), response={201: TeamOut})
def create_team(request: HttpRequest, body: NewTeam) -> Status[TeamOut]:
    """Make a team; an e-mail channel with the target `@name` sends to its members."""
    caller = caller_of(request)
    made = teams.create_team(project=caller.project, name=body.name, emails=body.members, actor=caller.actor)
    return Status(201, TeamOut.of(made))


@router.patch("/teams/{int:team_id}", auth=Scoped(SCOPE_OF["team"]), response=TeamOut)
def change_team(request: HttpRequest, team_id: int, body: TeamChanges) -> TeamOut:
    """Replace the members of a team."""
    caller = caller_of(request)
    team = teams.get_team(project=caller.project, team_id=team_id)
    return TeamOut.of(teams.set_members(team=team, emails=body.members, actor=caller.actor))


@router.delete("/teams/{int:team_id}", auth=Scoped(SCOPE_OF["team"]), response={204: None})
def delete_team(request: HttpRequest, team_id: int) -> Status[None]:
    """Delete a team; models keep its name as their owner, and messages to it fail with that reason."""
    caller = caller_of(request)
    teams.delete_team(team=teams.get_team(project=caller.project, team_id=team_id), actor=caller.actor)
    return Status(204, None)
