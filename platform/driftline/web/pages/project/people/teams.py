"""The pages of teams: who is in them, which models they own, and which channels send to them."""

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render

from driftline.base.accounts import teams
from driftline.base.accounts.members import members_of
from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from inference.registry.models import Model
from monitors.alerts.channels.email import TEAM
from monitors.alerts.models import Channel


class MembersForm(forms.Form):
    """Who is in a team."""

    members = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)

    def __init__(self, project: Project, data: QueryDict | None, **options: Any) -> None:
        super().__init__(data, **options)
        field = self.fields["members"]
        assert isinstance(field, forms.ChoiceField)
        rows = members_of(project).order_by("user__email")
        field.choices = [
            (one.user.email, f"{one.user.email} {one.user.get_full_name()}".strip()) for one in rows
        ]


class TeamForm(MembersForm):
    """A name, and who is in it."""

    name = forms.CharField(
        max_length=99, help_text="Such as “risk”. It stays: models, routes and channels say it."
    )
    field_order = ("name", "members")


@page("GET", "POST", writes="team")
def team_list(request: PageRequest) -> HttpResponse:
    """List the teams; a POST makes one."""
    project = request.visitor.project
    form = TeamForm(project, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = teams.create_team(
                project=project, name=form.cleaned_data["name"], emails=form.cleaned_data["members"],
                actor=request.visitor.actor,
            )  # fmt: skip
        except Problem as problem:
            explain(form, problem)
        else:
            messages.success(request, f"The team {made.name} is made.")
            return redirect("teams")
    listed = list(teams.teams_of(project).order_by("name"))
    names = [one.name for one in listed]
    models, channels = _models_of(project, names), _channels_of(project, names)
    context = {
        "rows": [(one, models.get(one.name, []), channels.get(one.name, [])) for one in listed],
        "form": form,
        "may_change": request.visitor.may("team"),
        "section": "teams",
    }
    return render(request, "pages/project/people/teams.html", context, status=422 if form.errors else 200)


@page("GET", "POST", writes="team")
def team(request: PageRequest, pk: int) -> HttpResponse:
    """Show one team; a POST replaces its members."""
    project = request.visitor.project
    one = teams.get_team(project=project, team_id=pk)
    initial = {"members": [member.user.email for member in one.members.all()]}
    form = MembersForm(project, request.POST if request.method == "POST" else None, initial=initial)
    if request.method == "POST" and form.is_valid():
        teams.set_members(team=one, emails=form.cleaned_data["members"], actor=request.visitor.actor)
        messages.success(request, f"The team {one.name} is changed.")
        return redirect("teams")
    context = {"team": one, "form": form, "may_change": request.visitor.may("team"), "section": "teams"}
    return render(request, "pages/project/people/team.html", context, status=422 if form.errors else 200)


@page("GET", "POST", writes="team")
def remove(request: PageRequest, pk: int) -> HttpResponse:
    """Show what depends on a team; a POST deletes it."""
    one = teams.get_team(project=request.visitor.project, team_id=pk)
    if request.method == "POST":
        teams.delete_team(team=one, actor=request.visitor.actor)
        messages.success(request, f"The team {one.name} is deleted.")
        return redirect("teams")
    owned = _models_of(one.project, [one.name]).get(one.name, [])
    channels = ", ".join(_channels_of(one.project, [one.name]).get(one.name, []))
    context = {
        "team": one,
        "title": f"Delete the team {one.name}",
        "effects": [
            f"Its members stay in the project{_effect_on_models(len(owned))}.",
            f"Messages of these channels fail until they have another target: {channels}."
            if channels
            else "No channel sends to it.",
        ],
        "yes": "Yes, delete it",
        "section": "teams",
    }
    return render(request, "pages/project/people/team_remove.html", context)


def _effect_on_models(count: int) -> str:
    if count == 0:
        return ""
    return (
        ", and its model keeps its name as owner"
        if count == 1
        else f", and {count:,} models keep its name as owner"
    )


def _models_of(project: Project, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of the models that each team owns."""
    owned = Model.objects.of_project(project).listed().filter(owner__in=names).order_by("name")
    return _grouped(owned.values_list("owner", "name"))


def _channels_of(project: Project, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of the channels that send to each team."""
    targets = [f"{TEAM}{name}" for name in names]
    sending = Channel.objects.filter(project=project, kind="email", target__in=targets, deleted_at=None)
    pairs = sending.order_by("name").values_list("target", "name")
    return _grouped((target.removeprefix(TEAM), name) for target, name in pairs)


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for group, name in pairs:
        groups.setdefault(group, []).append(name)
    return groups
