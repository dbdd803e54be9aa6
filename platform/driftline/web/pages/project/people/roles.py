"""The pages of roles: what each lets its members do, and the project's own ones to make, change and delete."""

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Count
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render

from driftline.base.accounts.access import roles
from driftline.base.accounts.access.scopes import SCOPES_OF_ROLE, Role, Scope
from driftline.base.accounts.members import members_of
from driftline.base.accounts.models import MAX_ROLE_CHARACTERS, ROLE_LABELS, CustomRole, Project
from driftline.base.errors import Problem
from driftline.web.pages.access import PageRequest, Visitor, page
from driftline.web.pages.forms import explain


class ScopesForm(forms.Form):
    """What a role lets its members do, of what the visitor may do; each role may read."""

    scopes = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="Every member reads everything in the project as well. "
        "What you may not do yourself cannot be added here.",
    )

    def __init__(self, visitor: Visitor, data: QueryDict | None, role: CustomRole | None = None) -> None:
        before = role.allowed if role else frozenset()
        super().__init__(data, initial={"scopes": list(before)})
        field = self.fields["scopes"]
        assert isinstance(field, forms.ChoiceField)
        offered = (visitor.scopes | before) - {Scope.READ}
        field.choices = [(scope, f"{scope}: {scope.allows}") for scope in Scope if scope in offered]

    @property
    def chosen(self) -> list[str]:
        return [Scope.READ, *self.cleaned_data["scopes"]]


class NewRoleForm(ScopesForm):
    """A name and scopes."""

    name = forms.CharField(
        max_length=MAX_ROLE_CHARACTERS,
        help_text="Such as “labeller”. It stays: members, invitations and the sign-in file say it.",
    )
    field_order = ("name", "scopes")


def role_choices(project: Project) -> list[tuple[str, str]]:
    """List what a form offers where a role is given."""
    own = project.custom_roles.order_by("name")
    return [*ROLE_LABELS.items(), *((one.name, f"{one.name}: {_scopes_of(one)}") for one in own)]


@page("GET", "POST", writes="role")
def role_list(request: PageRequest) -> HttpResponse:
    """List the roles; a POST makes one."""
    visitor = request.visitor
    form = NewRoleForm(visitor, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = roles.create_role(
                project=visitor.project, name=form.cleaned_data["name"], scopes=form.chosen, held=visitor.scopes,
                actor=visitor.actor,
            )  # fmt: skip
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, f"The role {made.name} is made.")
            return redirect("roles")
    context = {
        "built_in": _built_in(visitor.project),
        "own": [(one, _scopes_of(one)) for one in roles.roles_of(visitor.project).order_by("name")],
        "form": form,
        "may_change": visitor.may("role"),
        "section": "roles",
    }
    return render(request, "pages/project/people/roles.html", context, status=422 if form.errors else 200)


def _built_in(project: Project) -> list[tuple[str, str, int]]:
    counted = members_of(project).order_by().values("role").annotate(count=Count("pk"))
    members = {one["role"]: one["count"] for one in counted}
    scopes = {role: ", ".join(one for one in Scope if one in SCOPES_OF_ROLE[role]) for role in Role}
    return [(role, scopes[role], members.get(role, 0)) for role in Role]


def _scopes_of(role: CustomRole) -> str:
    return ", ".join(scope for scope in Scope if scope in role.allowed)


@page("GET", "POST", writes="role")
def role(request: PageRequest, pk: int) -> HttpResponse:
    """Show one role of the project; a POST replaces its scopes."""
    visitor = request.visitor
    one = roles.get_role(project=visitor.project, role_id=pk)
    form = ScopesForm(visitor, request.POST if request.method == "POST" else None, one)
    if request.method == "POST" and form.is_valid():
        try:
            roles.set_scopes(
                role=one, scopes=form.chosen, held=visitor.scopes, actor=visitor.actor, own_role=visitor.role
            )
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, f"The role {one.name} is changed.")
            return redirect("roles")
    context: dict[str, Any] = {
        "role": one,
        "scopes": _scopes_of(one),
        "form": form,
        "may_change": visitor.may("role"),
        "section": "roles",
    }
    return render(request, "pages/project/people/role.html", context, status=422 if form.errors else 200)


@page("GET", "POST", writes="role")
def remove(request: PageRequest, pk: int) -> HttpResponse:
    """Show whether anybody has a role; a POST deletes it."""
    one = roles.get_role(project=request.visitor.project, role_id=pk)
    if request.method == "POST":
        roles.delete_role(role=one, actor=request.visitor.actor)
        messages.success(request, f"The role {one.name} is deleted.")
        return redirect("roles")
    uses = roles.uses_of(one)
    context = {
        "role": one,
        "title": f"Delete the role {one.name}",
        "effects": [f"It is in use: {'; '.join(uses)}. Give them another role first."]
        if uses
        else ["No member has it, and no open invitation gives it."],
        "is_refused": bool(uses),
        "yes": "Yes, delete it",
        "section": "roles",
    }
    return render(request, "pages/project/people/role_remove.html", context)
