"""Roles that a project makes beside the three that all have, over HTTP."""

from typing import Annotated, Self

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access import roles
from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Role, Scope
from driftline.base.accounts.models import MAX_ROLE_CHARACTERS, CustomRole
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page, ResponseBody, Time, one_of

router = Router(tags=["members"])
type ScopeName = Annotated[str, Field(max_length=40)]
_SCOPES = f"some of {', '.join(Scope)}; always {Scope.READ}"


class RoleOut(ResponseBody, frozen=True):
    """A role of the project; how many members have it, and how many open invitations give it."""

    id: int
    name: str
    scopes: list[Annotated[str, one_of(Scope)]]
    members: int
    invitations: int
    created_at: Time

    @classmethod
    def of(cls, role: CustomRole) -> Self:
        return cls(
            id=role.pk,
            name=role.name,
            scopes=[scope for scope in Scope if scope in role.allowed],
            members=role.members,  # type: ignore[attr-defined]  # of `roles_of`
            invitations=role.invited,  # type: ignore[attr-defined]
            created_at=role.created_at,
        )


class NewRole(Body):
    name: str = Field(
        max_length=MAX_ROLE_CHARACTERS,
        description=f"what members, invitations and the sign-in file say; it stays; not {', '.join(Role)}",
    )
    scopes: list[ScopeName] = Field(max_length=len(Scope), description=_SCOPES)


class RoleChanges(Body):
    scopes: list[ScopeName] = Field(max_length=len(Scope), description=f"all of them: {_SCOPES}")


@router.get("/roles", auth=Scoped(Scope.READ), response=Page[RoleOut])
def list_roles(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[RoleOut]:
    """List the roles that the project made; viewer, editor and admin are beside them in every project."""
    rows = roles.roles_of(caller_of(request).project)
    return page(rows, RoleOut.of, by=("name", "pk"), cursor=cursor, limit=limit)


@router.post("/roles", auth=Scoped(SCOPE_OF["role"]), response={201: RoleOut})
def create_role(request: HttpRequest, body: NewRole) -> Status[RoleOut]:
    """Make a role, a name and a set of scopes; none that the token lacks."""
    caller = caller_of(request)
    made = roles.create_role(
        project=caller.project, name=body.name, scopes=body.scopes, held=caller.scopes, actor=caller.actor
    )
    return Status(201, RoleOut.of(made))


@router.patch("/roles/{int:role_id}", auth=Scoped(SCOPE_OF["role"]), response=RoleOut)
def change_role(request: HttpRequest, role_id: int, body: RoleChanges) -> RoleOut:
    """Replace the scopes of a role, adding none that the token lacks; its members' next request has them."""
    caller = caller_of(request)
    role = roles.get_role(project=caller.project, role_id=role_id)
    return RoleOut.of(roles.set_scopes(role=role, scopes=body.scopes, held=caller.scopes, actor=caller.actor))


@router.delete("/roles/{int:role_id}", auth=Scoped(SCOPE_OF["role"]), response={204: None})
def delete_role(request: HttpRequest, role_id: int) -> Status[None]:
    """Delete a role that no member has, and no open invitation or group of the sign-in file gives (409 otherwise)."""
    caller = caller_of(request)
    roles.delete_role(role=roles.get_role(project=caller.project, role_id=role_id), actor=caller.actor)
    return Status(204, None)
