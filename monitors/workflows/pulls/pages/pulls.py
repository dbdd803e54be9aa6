"""The page on which versions are pulled from an address: the form, and what became of each pull."""

import re
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import Problem
from driftline.base.outbound.redirected import MAX_URL_LETTERS
from driftline.base.outbound.secrecy import MAX_SECRET_LENGTH
from driftline.base.strict_json import read_json
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from driftline.web.pages.models.model import frame_of
from inference.registry.models import Model
from inference.registry.selectors import find_model
from monitors.workflows.pulls import services
from monitors.workflows.pulls.addresses import Address, hub_address, web_address
from monitors.workflows.pulls.models import Pull
from monitors.workflows.pulls.selectors import pulls_of

SHOWN = 20
_LINK = re.compile(r"/(?P<repository>[^/]+/[^/]+)/(?:blob|resolve)/(?P<revision>[^/]+)/(?P<file>[^?#]+)")
"""The path of a file of a repository, as the hub's pages link to it."""


class PullForm(forms.Form):
    """Where the file is. The token is never shown again."""

    address = forms.CharField(
        max_length=MAX_URL_LETTERS,
        label="Address",
        help_text="Of the ONNX file, as https://…; or a repository of Hugging Face, as org/name.",
    )
    file = forms.CharField(
        required=False,
        max_length=200,
        label="File in the repository",
        help_text="Of Hugging Face alone. Empty: model.onnx.",
    )
    revision = forms.CharField(
        required=False,
        max_length=100,
        label="Revision",
        help_text="A branch, a tag or a commit, of Hugging Face alone. Empty: main.",
    )
    token = forms.CharField(
        required=False,
        max_length=MAX_SECRET_LENGTH,
        label="Token",
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Sent to the server of the address alone, kept sealed until the file is here, never shown again.",
    )
    sha256 = forms.CharField(
        required=False, max_length=80, label="SHA-256", help_text="The file is refused where it has another."
    )
    metadata = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        label="Metadata, as JSON",
        help_text="As with an upload. Empty: features and classes are the champion's.",
    )
    start_run = forms.BooleanField(
        required=False,
        label="Compare it with the champion",
        help_text="Starts a run that begins at the shadow, once the version is there.",
    )

    def values(self) -> dict[str, Any]:
        """Return what was sent, as the service takes it; raises Problem at the field that is wrong."""
        fields = self.cleaned_data
        return {
            "address": _address(fields["address"], fields["revision"], fields["file"]),
            "token": fields["token"],
            "sha256": fields["sha256"],
            "metadata": read_json(fields["metadata"].encode()) if fields["metadata"].strip() else None,
            "starts_run": fields["start_run"],
        }


def _address(text: str, revision: str, file: str) -> Address:
    """Read a URL, a repository's name, or a link that was copied from the hub's pages."""
    link = _LINK.fullmatch(text.removeprefix(settings.HUGGING_FACE_URL).partition("?")[0])
    if text.startswith(f"{settings.HUGGING_FACE_URL}/") and link:
        return hub_address(link["repository"], revision or link["revision"], file or link["file"], "")
    if "://" in text:
        return web_address(text, "/address")
    return hub_address(text, revision, file or "model.onnx", "")


@page("GET", "POST", writes="version")
def pulls(request: PageRequest, name: str) -> HttpResponse:
    """Show the pulls; a POST asks for one, tries one again or cancels one."""
    if request.method == "GET" and request.GET.get("part") == "pulls":
        model = find_model(project=request.visitor.project, name=name)
        return render(request, "features/pulls/pulls_table.html", {"model": model, **_pulls(model)})
    frame = frame_of(request, name, "versions")
    model = frame["model"]
    action = request.POST.get("do", "") if request.method == "POST" else ""
    form = PullForm(request.POST if action == "pull" else None)
    if action == "pull":
        if _ask(request, model, form):
            return redirect("pulls", name=model.name)
    elif action:
        _act(request, model, action)
        return redirect("pulls", name=model.name)
    frame |= {"form": form, **_pulls(model)}
    return render(request, "features/pulls/pulls.html", frame, status=422 if form.errors else 200)


def _ask(request: PageRequest, model: Model, form: PullForm) -> bool:
    """Ask for what the form says; False where it was refused, with the reasons in the form."""
    if not form.is_valid():
        return False
    try:
        pull = services.request_pull(model=model, actor=request.visitor.actor, **form.values())
    except Problem as problem:
        _explain(form, problem)
        return False
    messages.success(request, f"A worker gets {pull.place}.")
    return True


def _explain(form: PullForm, problem: Problem) -> None:
    """Put a fault at the field that can mend it: the repository stands in the address."""
    explain(form, problem)
    at_repository = [fault.detail for fault in problem.errors if fault.pointer == "/repository"]
    for detail in at_repository:
        form.errors.pop("__all__", None)
        form.add_error("address", detail)


def _act(request: PageRequest, model: Model, action: str) -> None:
    if action not in ("retry", "cancel"):
        raise Problem(422, "unknown_action", f"{action[:40]!r} is not an action here.")
    number, actor = request.POST.get("pull", ""), request.visitor.actor
    pull = services.get_pull(model=model, pull_id=int(number[:18]) if number.isdecimal() else 0)
    if action == "retry":
        services.retry(pull=pull, actor=actor)
        messages.success(request, f"A worker gets {pull.place} again.")
    else:
        services.cancel(pull=pull, actor=actor)
        messages.info(request, f"The pull of {pull.place} was cancelled.")


def _pulls(model: Model) -> dict[str, Any]:
    found: list[Pull] = list(pulls_of(model)[:SHOWN])
    return {"pulls": found, "is_pulling": any(one.is_unfinished for one in found)}
