"""The pages of a project's members: who they are, how somebody is invited, another role, and removal."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render

from driftline.base.accounts import members
from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import ApiToken, Invitation, Membership, Project
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.sign_in import invitations
from driftline.web.pages.access import PageRequest, Visitor, page
from driftline.web.pages.forms import explain
from driftline.web.pages.project.people.roles import role_choices

SHOWN = 500
"""Members that the page lists; the API lists all."""


class RoleForm(forms.Form):
    """A role, of those that the project has."""

    role = forms.ChoiceField(initial=Role.VIEWER)

    def __init__(self, project: Project, data: QueryDict | None, **options: Any) -> None:
        super().__init__(data, **options)
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = role_choices(project)


class InvitationForm(RoleForm):
    """An address and a role."""

    email = forms.EmailField(
        label="E-mail address", help_text="Only who has this address can join by the link."
    )
    field_order = ("email", "role")


@page("GET", "POST", writes="member")
def member_list(request: PageRequest) -> HttpResponse:
    """List the members and who is invited; a POST invites somebody, sends an invitation again or withdraws it."""
    visitor, action, link = request.visitor, request.POST.get("do", ""), ""
    form = InvitationForm(visitor.project, request.POST if action == "invite" else None)
    if action == "invite" and form.is_valid():
        try:
            made = invitations.invite(
                project=visitor.project,
                scopes=visitor.scopes,
                actor=visitor.actor,
                now=now(),
                **form.cleaned_data,
            )
        except Problem as problem:
            explain(form, problem)
        else:
            form, link = InvitationForm(visitor.project, None), _announce(request, made)
    elif action in ("resend", "withdraw"):
        invitation = invitations.get_invitation(project=visitor.project, invitation_id=_number(request))
        if action == "resend":
            sent = invitations.send_again(
                invitation=invitation, scopes=visitor.scopes, actor=visitor.actor, now=now()
            )
            link = _announce(request, sent)
        else:
            invitations.withdraw(invitation=invitation, actor=visitor.actor, now=now())
            messages.success(request, f"The invitation of {invitation.email} is withdrawn.")
    elif request.method == "POST" and action != "invite":
        raise Problem(
            422, "unknown_action", f"{action[:40]!r} is not an action here; use invite, resend or withdraw."
        )
    if request.method == "POST" and not link and not form.errors:
        return redirect("members")
    return render(
        request,
        "pages/project/people/members.html",
        _context(visitor, form, link),
        status=422 if form.errors else 200,
    )


def _announce(request: PageRequest, invitation: Invitation) -> str:
    """Return the link where it has to be passed on by hand; else say that it is sent."""
    link = invitations.link_to_pass_on(invitation)
    if not link:
        messages.success(
            request, f"{invitation.email} gets a link by e-mail, valid for {invitations.VALID_FOR.days} days."
        )
    return link


def _context(visitor: Visitor, form: forms.Form, link: str) -> dict[str, Any]:
    waiting = invitations.open_invitations(visitor.project).order_by("-pk")
    return {
        "members": members.members_of(visitor.project).order_by("user__email")[:SHOWN],
        "invitations": waiting if visitor.may("invitation") else [],
        "may_change": visitor.may("member"),
        "form": form,
        "link": link,
        "now": now(),
        "section": "members",
    }


def _number(request: PageRequest) -> int:
    text = request.POST.get("invitation", "")
    return int(text) if text.isdecimal() and len(text) < 19 else 0


@page("GET", "POST", writes="member")
def member(request: PageRequest, pk: int) -> HttpResponse:
    """Show one member; a POST gives another role."""
    visitor = request.visitor
    one = members.get_member(project=visitor.project, member_id=pk)
    form = RoleForm(visitor.project, request.POST or None, initial={"role": one.role})
    if request.method == "POST" and form.is_valid():
        try:
            changed = members.change_role(
                member=one, role=form.cleaned_data["role"], scopes=visitor.scopes, actor=visitor.actor
            )
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, f"{changed.user.email} is {changed.role} now.")
            return redirect("members")
    context = {
        "member": one,
        "form": form,
        "may_change": visitor.may("member"),
        "section": "members",
    }
    return render(request, "pages/project/people/member.html", context, status=422 if form.errors else 200)


@page("GET", "POST", writes="member")
def remove(request: PageRequest, pk: int) -> HttpResponse:
    """Show what the removal of a member does; a POST removes them."""
    visitor = request.visitor
    one = members.get_member(project=visitor.project, member_id=pk)
    if request.method == "POST":
        members.remove_member(member=one, actor=visitor.actor)
        messages.success(request, f"{one.user.email} is no member any more.")
        return redirect("/" if one.user == visitor.user else "members")
    is_last_admin = one.is_last_admin
    context = {
        "member": one,
        "title": f"Remove {one.user.email}",
        "effects": _effects(one, is_last_admin=is_last_admin),
        "is_refused": is_last_admin,
        "yes": "Yes, remove",
        "section": "members",
    }
    return render(request, "pages/project/people/member_remove.html", context)


def _effects(member: Membership, *, is_last_admin: bool) -> list[str]:
    if is_last_admin:
        return ["This is the only admin of the project. Make somebody else an admin first."]
    tokens = ApiToken.objects.filter(project=member.project, created_by=member.user, revoked_at=None).count()
    return [
        "Pages of this project are not found for this person from the next request on. "
        "The account stays, and so do comments, decisions and the audit trail.",
        *_effect_on_tokens(tokens),
    ]


def _effect_on_tokens(count: int) -> list[str]:
    if count == 0:
        return []
    made = (
        "The token that this person made stays"
        if count == 1
        else f"{count:,} tokens that this person made stay"
    )
    return [
        f"{made} valid: whoever has copied {'it' if count == 1 else 'one'} can use it until it is revoked."
    ]
