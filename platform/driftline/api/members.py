"""Members of a project and invitations over HTTP."""

from typing import Self

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts import members
from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Role, Scope
from driftline.base.accounts.models import MAX_ROLE_CHARACTERS, Invitation, Membership
from driftline.base.clock import now
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page, ResponseBody, Time
from driftline.sign_in import invitations

router = Router(tags=["members"])
_ROLE = f"{', '.join(Role)}, or the name of a role of the project"


class MemberOut(ResponseBody, frozen=True):
    """A person in the project; `last_seen_at` is to within five minutes, null where they never opened a page."""

    id: int
    email: str
    name: str
    role: str
    joined_at: Time | None
    last_seen_at: Time | None

    @classmethod
    def of(cls, member: Membership) -> Self:
        return cls(
            id=member.pk,
            email=member.user.email,
            name=member.user.get_full_name(),
            role=member.role,
            joined_at=member.joined_at,
            last_seen_at=member.last_seen_at,
        )


class InvitationOut(ResponseBody, frozen=True):
    """An invitation that nobody has accepted.

    `link` is in the answer to making it or sending it again, and only where no mail can be sent: pass it on.
    """

    id: int
    email: str
    role: str
    invited_by: str
    created_at: Time
    expires_at: Time
    sent_at: Time | None
    mail_error: str
    link: str | None

    @classmethod
    def of(cls, invitation: Invitation, *, link: str = "") -> Self:
        return cls(
            id=invitation.pk,
            email=invitation.email,
            role=invitation.role,
            invited_by=invitation.created_by,
            created_at=invitation.created_at,
            expires_at=invitation.expires_at,
            sent_at=invitation.sent_at,
            mail_error=invitation.mail_error,
            link=link or None,
        )


class MemberChanges(Body):
    role: str = Field(max_length=MAX_ROLE_CHARACTERS, description=_ROLE)


class NewInvitation(Body):
    email: str = Field(max_length=254)
    role: str = Field(Role.VIEWER.value, max_length=MAX_ROLE_CHARACTERS, description=_ROLE)


@router.get("/members", auth=Scoped(Scope.READ), response=Page[MemberOut])
def list_members(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[MemberOut]:
    """List the people of the project, who joined first at the top."""
    rows = members.members_of(caller_of(request).project)
    return page(rows, MemberOut.of, by=("pk",), cursor=cursor, limit=limit)


@router.patch("/members/{int:member_id}", auth=Scoped(SCOPE_OF["member"]), response=MemberOut)
def change_member(request: HttpRequest, member_id: int, body: MemberChanges) -> MemberOut:
    """Assign another role to a member, none with scopes that the token lacks; the last admin keeps theirs (409)."""
    caller = caller_of(request)
    member = members.get_member(project=caller.project, member_id=member_id)
    return MemberOut.of(
        members.change_role(member=member, role=body.role, scopes=caller.scopes, actor=caller.actor)
    )


@router.delete("/members/{int:member_id}", auth=Scoped(SCOPE_OF["member"]), response={204: None})
def remove_member(request: HttpRequest, member_id: int) -> Status[None]:
    """Take a person out of the project; the last admin stays (409). Their account stays, and tokens they made too."""
    caller = caller_of(request)
    member = members.get_member(project=caller.project, member_id=member_id)
    members.remove_member(member=member, actor=caller.actor)
    return Status(204, None)


@router.get("/invitations", auth=Scoped(SCOPE_OF["invitation"]), response=Page[InvitationOut])
def list_invitations(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Page[InvitationOut]:
    """List the invitations that nobody accepted or withdrew, the newest first; some may have expired."""
    rows = invitations.open_invitations(caller_of(request).project)
    return page(rows, InvitationOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.post("/invitations", auth=Scoped(SCOPE_OF["invitation"]), response={201: InvitationOut})
def invite(request: HttpRequest, body: NewInvitation) -> Status[InvitationOut]:
    """Invite an address by e-mail; the link works for seven days, once, and for that address alone."""
    caller = caller_of(request)
    made = invitations.invite(
        project=caller.project, email=body.email, role=body.role, scopes=caller.scopes, actor=caller.actor, now=now()
    )  # fmt: skip
    return Status(201, InvitationOut.of(made, link=invitations.link_to_pass_on(made)))


@router.post(
    "/invitations/{int:invitation_id}/resend", auth=Scoped(SCOPE_OF["invitation"]), response=InvitationOut
)
def send_again(request: HttpRequest, invitation_id: int) -> InvitationOut:
    """Send a new link, valid for seven days; the one before ends. The token needs the scopes of the role."""
    caller = caller_of(request)
    found = invitations.get_invitation(project=caller.project, invitation_id=invitation_id)
    sent = invitations.send_again(invitation=found, scopes=caller.scopes, actor=caller.actor, now=now())
    return InvitationOut.of(sent, link=invitations.link_to_pass_on(sent))


@router.delete("/invitations/{int:invitation_id}", auth=Scoped(SCOPE_OF["invitation"]), response={204: None})
def withdraw(request: HttpRequest, invitation_id: int) -> Status[None]:
    """End an invitation: its link lets nobody in any more."""
    caller = caller_of(request)
    found = invitations.get_invitation(project=caller.project, invitation_id=invitation_id)
    invitations.withdraw(invitation=found, actor=caller.actor, now=now())
    return Status(204, None)
