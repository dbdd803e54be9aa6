"""The pages of devices: the groups with what they answer with, the devices, and the releases to them."""

from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpResponse, QueryDict
from django.shortcuts import redirect, render

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from driftline.base.errors import Problem, invalid
from driftline.web.pages import queries
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from inference.edge.enrolment import CODE_LASTS, create_device, refuse_revoked, renew_code, revoke_device
from inference.edge.groups import (
    MAX_ASK_DAYS,
    GroupSettings,
    change_group,
    create_group,
    delete_group,
    get_device,
    get_group,
)
from inference.edge.models import Device, DeviceGroup, Release, ReleaseState
from inference.edge.releases import (
    DEFAULT_ABORT_SHARE,
    DEFAULT_RINGS,
    abort_running,
    current_release,
    newest_by_group,
    start_release,
)
from inference.registry.selectors import get_model

LISTED_DEVICES = 500
LISTED_RELEASES = 20


class SettingsForm(forms.Form):
    sampling = forms.FloatField(
        min_value=0,
        max_value=100,
        initial=100,
        label="Rows that are sent whole (%)",
        help_text="Of the others, devices send hourly summaries; labels find whole rows alone.",
    )
    ask_below = forms.FloatField(
        min_value=0,
        max_value=100,
        required=False,
        label="Ask the server below this confidence (%)",
        help_text="Where the device's model is less sure of its answer. Empty for never.",
    )
    ask_after_days = forms.IntegerField(
        min_value=0,
        max_value=MAX_ASK_DAYS,
        required=False,
        label="Ask the server once the version is older (days)",
        help_text="Since its release to the group. Empty for never.",
    )


class GroupForm(SettingsForm):
    name = forms.CharField(max_length=60, help_text="Such as 'forklifts'.")
    model = forms.ChoiceField(help_text="Its devices answer for this model.")
    field_order = ("name", "model")

    def offer(self, names: list[str]) -> None:
        """Offer these models."""
        field = self.fields["model"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(name, name) for name in names]


class DeviceForm(forms.Form):
    name = forms.CharField(
        max_length=60,
        label="Name of the device",
        help_text="Its predictions are called by it, so it is final.",
    )


class ReleaseForm(forms.Form):
    version = forms.ChoiceField()
    rings = forms.CharField(
        max_length=60,
        initial=", ".join(map(str, DEFAULT_RINGS)),
        label="Rings (% of the devices)",
        help_text="Each begins when the one before has answered.",
    )
    percent = forms.FloatField(
        min_value=0,
        max_value=99,
        initial=DEFAULT_ABORT_SHARE * 100,
        label="Abort above (% of the ring fails)",
        help_text="All devices then go back to the earlier version.",
    )

    def offer(self, group: DeviceGroup) -> None:
        """Offer the versions that have a file, newest first."""
        versions = group.model.versions.exclude(sha256="").filter(archived_at=None).order_by("-pk")
        field = self.fields["version"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(version.version, version.version) for version in versions]

    def rings_given(self) -> list[int]:
        """Return the rings; raises Problem for what is no list of numbers."""
        parts = str(self.cleaned_data["rings"]).replace(",", " ").split()
        if not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts):
            raise invalid("/rings", "Write whole numbers with commas between, such as 1, 10, 100.")
        return [int(part) for part in parts]


@page("GET", "POST", writes="device")
def devices(request: PageRequest) -> HttpResponse:
    """List groups and devices; a POST makes a group."""
    project = request.visitor.project
    form = GroupForm(request.POST if request.POST.get("do") == "create" else None)
    form.offer(list(queries.models_of(project).values_list("name", flat=True)))
    if request.method == "POST" and form.is_valid():
        try:
            model = get_model(project=project, name=form.cleaned_data["model"])
            made = create_group(
                model=model,
                name=form.cleaned_data["name"],
                actor=request.visitor.actor,
                **_settings_of(form),
            )
            messages.success(request, f"The group {made.name} is made; enrol its first device below.")
            return redirect("device_group", pk=made.pk)
        except Problem as problem:
            explain(form, problem)
    rows = Device.objects.filter(project=project).select_related("group")
    context = {
        "groups": _groups(project),
        "devices": _with_states(rows),
        "unlisted_devices": max(rows.count() - LISTED_DEVICES, 0),
        "form": form,
    }
    return render(request, "features/edge/devices.html", context, status=422 if form.errors else 200)


@page("GET", "POST", writes="device")
def group(request: PageRequest, pk: int) -> HttpResponse:
    """Show a group with its devices and releases; a POST makes a device, or changes or deletes the group."""
    shown = get_group(project=request.visitor.project, group_id=pk)
    do = request.POST.get("do")
    if do in ("abort", "delete"):
        return _press(request, shown, do)
    filled = _forms(shown, do, request.POST)
    form = filled.get(f"{do}_form", filled["device_form"])
    try:
        if do == "device" and form.is_valid():
            name = form.cleaned_data["name"]
            _, code = create_device(group=shown, name=name, actor=request.visitor.actor, now=now())
            return _show_group(request, shown, _forms(shown) | {"code": code})
        if do in ("release", "settings") and form.is_valid():
            _change(request, shown, do, form)
            return redirect("device_group", pk=pk)
    except Problem as problem:
        explain(form, problem)
    return _show_group(request, shown, filled, status=422 if form.errors else 200)


@page("GET", "POST", writes="device")
def code(request: PageRequest, pk: int) -> HttpResponse:
    """Show what another code does; a POST makes it and shows it once."""
    device = get_device(project=request.visitor.project, device_id=pk)
    refuse_revoked(device)
    if request.method == "POST":
        text = renew_code(device=device, actor=request.visitor.actor, now=now())
        return _show_group(request, device.group, _forms(device.group) | {"code": text})
    effects = [
        f"It enrols an agent as {device.name} once, within {CODE_LASTS.total_seconds() / 3600:.0f} hours.",
        "The agent that has this name today is refused from then on; its unsent rows are lost.",
    ]
    return _confirm(request, device, f"Make another code for {device.name}", effects, "Yes, make a code")


@page("GET", "POST", writes="device")
def revoke(request: PageRequest, pk: int) -> HttpResponse:
    """Show what revoking a device does; a POST revokes it."""
    device = get_device(project=request.visitor.project, device_id=pk)
    refuse_revoked(device)
    if request.method == "POST":
        revoke_device(device=device, actor=request.visitor.actor, now=now())
        messages.success(request, f"{device.name} is revoked; its token opens nothing any more.")
        return redirect("device_group", pk=device.group_id)
    effects = [
        f"{device.name} is refused at its next request, and rows that it has not sent are lost.",
        "Its model goes on to answer on the device itself, without updates. Its name stays taken.",
    ]
    return _confirm(request, device, f"Revoke the device {device.name}", effects, "Yes, revoke it")


def _forms(group: DeviceGroup, do: str | None = None, posted: QueryDict | None = None) -> dict[str, Any]:
    """Make the forms of a group's page; the one that was sent has what was sent."""
    release = ReleaseForm(posted if do == "release" else None)
    release.offer(group)
    ask_below = None if group.ask_below is None else f"{group.ask_below * 100:g}"
    set_now = {
        "sampling": f"{group.sampling * 100:g}",
        "ask_below": ask_below,
        "ask_after_days": group.ask_after_days,
    }
    return {
        "device_form": DeviceForm(posted if do == "device" else None),
        "release_form": release,
        "settings_form": SettingsForm(posted if do == "settings" else None, initial=set_now),
    }


def _settings_of(form: forms.Form) -> GroupSettings:
    given = form.cleaned_data
    return {
        "sampling": given["sampling"] / 100,
        "ask_below": None if given["ask_below"] is None else given["ask_below"] / 100,
        "ask_after_days": given["ask_after_days"],
    }


def _show_group(
    request: PageRequest, group: DeviceGroup, shown: dict[str, Any], status: int = 200
) -> HttpResponse:
    return render(request, "features/edge/device_group.html", _context(group) | shown, status=status)


def _confirm(request: PageRequest, device: Device, title: str, effects: list[str], yes: str) -> HttpResponse:
    context = {
        "title": title,
        "effects": effects,
        "yes": yes,
        "group": device.group,
        "may_confirm": request.visitor.may_deploy,
    }
    return render(request, "features/edge/device_confirm.html", context)


def _change(request: PageRequest, group: DeviceGroup, do: str, form: Any) -> None:
    if do == "release":
        _start(request, group, form)
    else:
        change_group(group=group, actor=request.visitor.actor, **_settings_of(form))
        messages.success(request, "The devices follow at their next polls.")


def _press(request: PageRequest, group: DeviceGroup, do: str) -> HttpResponse:
    """Do what a button without a form does, or say why not: the release may have ended since the page was shown."""
    try:
        if do == "delete":
            delete_group(group=group, actor=request.visitor.actor)
            messages.success(request, f"The group {group.name} is deleted.")
            return redirect("devices")
        _abort(request, group)
    except Problem as problem:
        messages.error(request, problem.detail)
    return redirect("device_group", pk=group.pk)


def _start(request: PageRequest, group: DeviceGroup, form: ReleaseForm) -> None:
    release = start_release(
        group=group,
        version=form.cleaned_data["version"],
        rings=form.rings_given(),
        abort_share=form.cleaned_data["percent"] / 100,
        actor=request.visitor.actor,
        now=now(),
    )
    what = f"Version {release.version.version}"
    messages.success(
        request,
        f"{what} is what the group has; no device waits for it."
        if release.ended_at
        else f"{what} is on its way to {release.percent} % of the devices.",
    )


def _abort(request: PageRequest, group: DeviceGroup) -> None:
    release = abort_running(group=group, actor=request.visitor.actor, now=now())
    then = (
        "devices go back at their next poll"
        if current_release(group)
        else "there is none to go back to, so devices that have it keep it until the next release"
    )
    messages.success(request, f"Version {release.version.version} is aborted; {then}.")


# -- what the pages show -------------------------------------------------------------------------------------------
def _groups(project: Project) -> list[dict[str, Any]]:
    groups = DeviceGroup.objects.filter(project=project)
    current = newest_by_group(groups, ReleaseState.COMPLETED)
    running = newest_by_group(groups, ReleaseState.RUNNING)
    active = Count("devices", filter=Q(devices__revoked_at=None))
    return [
        {
            "group": group,
            "devices": group.active_devices,
            "current": current.get(group.pk),
            "running": running.get(group.pk),
        }
        for group in groups.select_related("model").annotate(active_devices=active).order_by("name")
    ]


def _with_states(devices: QuerySet[Device]) -> list[tuple[Device, str]]:
    """List devices, those that were revoked last, each with its state."""
    moment = now()
    ordered = devices.order_by(F("revoked_at").asc(nulls_first=True), "name")
    return [(device, device.state(moment)) for device in ordered[:LISTED_DEVICES]]


def _context(group: DeviceGroup) -> dict[str, Any]:
    """Return what the page of a group shows; `is_stuck` says that an aborted release left nothing to go back to."""
    counted = Release.objects.filter(group=group).with_counts().with_failures().select_related("version")
    releases = counted.order_by("-pk")[:LISTED_RELEASES]
    running = counted.filter(state=ReleaseState.RUNNING).first()
    current = current_release(group)
    return {
        "group": group,
        "sampling_percent": f"{group.sampling * 100:g}",
        "current": current,
        "running": running,
        "aborted": None if current or running else releases.first(),
        "devices": _with_states(group.devices.select_related("group")),
        "unlisted_devices": max(group.devices.count() - LISTED_DEVICES, 0),
        "versions": group.devices.active().exclude(enrolled_at=None).count_by_version(),
        "releases": releases,
    }
