"""The pages of projects: a person's list with a form for one more, and the name and archiving of one."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from driftline.base.accounts import projects
from driftline.base.accounts.access.http_auth import SESSION_PROJECT
from driftline.base.accounts.access.scopes import Role
from driftline.base.accounts.models import Membership, Project, User
from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from inference.registry.models import Model


class ProjectForm(forms.Form):
    """A name and an address."""

    name = forms.CharField(max_length=projects.MAX_NAME, help_text="Such as “Card fraud”.")
    slug = forms.CharField(
        max_length=50,
        required=False,
        label="Address",
        help_text="The part after /p/ in the address of each page, such as card-fraud. Empty: made of the name.",
    )


class ProjectNameForm(forms.Form):
    """Another name."""

    name = forms.CharField(max_length=projects.MAX_NAME)


def _came_from(user: User, chosen: int | None) -> Project | None:
    """Return the project that a person looked at last, if they administer it, else the first one that they do."""
    administered = Project.objects.filter(memberships__user=user, memberships__role=Role.ADMIN).order_by("pk")
    return administered.filter(pk=chosen or 0).first() or administered.first()


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def project_list(request: HttpRequest) -> HttpResponse:
    """List a person's projects; a POST makes one, which the person administers."""
    assert isinstance(request.user, User)
    may_create = projects.may_create_project(request.user)
    form = ProjectForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            beside = _came_from(request.user, request.session.get(SESSION_PROJECT))
            made = projects.open_project(owner=request.user, beside=beside, **form.cleaned_data)
        except Problem as problem:
            if problem.status == 403:
                return render(request, "pages/problem.html", {"problem": problem}, status=403)
            explain(form, problem)
        else:
            messages.success(request, f"{made.name} is made, and you are its admin.")
            return redirect(f"{made.path_of(made.slug)}/settings/members")
    memberships = (
        Membership.objects.filter(user=request.user)
        .select_related("project")
        .annotate(
            models=_count_of(Model.objects.filter(archived_at=None)),
            people=_count_of(Membership.objects.all()),
        )
        .order_by("project__name", "pk")
    )
    context = {
        "open": [one for one in memberships if one.project.archived_at is None],
        "archived": [one for one in memberships if one.project.archived_at is not None],
        "form": form,
        "may_create": may_create,
    }
    return render(request, "pages/project/projects.html", context, status=422 if form.errors else 200)


def _count_of(rows: QuerySet[Any]) -> Coalesce:
    """Count the rows of a membership's project, in a query of its own: joins would multiply models by people."""
    of_project = rows.filter(project=OuterRef("project")).order_by().values("project")
    return Coalesce(Subquery(of_project.annotate(count=Count("pk")).values("count")), 0)


@page("GET", "POST", writes="project")
def project(request: PageRequest) -> HttpResponse:
    """Show a project's name; a POST renames it, or archives or restores it after a question."""
    visitor, one = request.visitor, request.visitor.project
    action = request.POST.get("do", "")
    form = ProjectNameForm(request.POST if action == "rename" else None, initial={"name": one.name})
    if action == "rename" and form.is_valid():
        try:
            projects.rename_project(project=one, name=form.cleaned_data["name"], actor=visitor.actor)
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, f"It is named {one.name}.")
            return redirect("project")
    elif action == "archive":
        projects.archive_project(project=one, actor=visitor.actor, now=now())
        return redirect("project")
    elif action == "restore":
        projects.restore_project(project=one, actor=visitor.actor)
        messages.success(request, f"{one.name} is restored; serving answers for it within a second.")
        return redirect("project")
    elif request.method == "POST" and action != "rename":
        raise Problem(
            422, "unknown_action", f"{action[:40]!r} is not an action here; use rename, archive or restore."
        )
    if request.GET.get("do") == "archive" and visitor.may("project"):
        return render(request, "pages/project/project_archive.html", _question(request))
    context = {
        "form": form,
        "may_change": visitor.may("project"),
        "models": Model.objects.filter(project=one).count(),
        "section": "project",
    }
    return render(request, "pages/project/project.html", context, status=422 if form.errors else 200)


def _question(request: PageRequest) -> dict[str, Any]:
    one = request.visitor.project
    return {
        "title": f"Archive {one.name}",
        "effects": [
            f"{_describe_models(one.models.count())}No prediction and no label is logged, and no rule is judged. "
            "Nothing of it can be changed, by members or by tokens.",
            "Its pages stay open to its members, under Projects. Nothing is deleted but what retention drops, "
            "and an admin can restore it.",
        ],
        "yes": "Yes, archive it",
        "section": "project",
    }


def _describe_models(count: int) -> str:
    if count == 0:
        return ""
    return "Its model answers no request. " if count == 1 else f"Its {count:,} models answer no request. "
