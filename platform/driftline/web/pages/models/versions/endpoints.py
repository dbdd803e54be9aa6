"""A version of a server that the user already runs: its form, and the version's endpoint in words."""

from dataclasses import replace
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from pydantic import ValidationError

from driftline.base.errors import Problem, invalid
from driftline.base.strict_json import read_json
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.forms import explain
from driftline.web.pages.models.model import frame_of
from driftline.web.pages.models.versions.intake import Intake
from inference.registry.endpoints.schemas import RemoteVersionIn
from inference.registry.endpoints.services import register_endpoint
from inference.registry.models import Model, Version
from inference.registry.plan.plan_uptake import await_uptake

PROTOCOLS = [
    ("v2", "Open Inference Protocol V2: Triton, KServe, MLServer"),
    ("v1", "V1: TensorFlow Serving, KServe"),
    ("torchserve", "TorchServe"),
]


class EndpointForm(forms.Form):
    url = forms.CharField(
        max_length=500,
        label="Address",
        help_text="Of the server, such as https://triton.example.com.",
    )
    protocol = forms.ChoiceField(choices=PROTOCOLS, label="It speaks")
    model = forms.CharField(max_length=200, label="It calls the model")
    version = forms.CharField(
        max_length=200, required=False, label="Its version", help_text="Empty: the one that it answers with."
    )
    token = forms.CharField(
        max_length=4096,
        required=False,
        label="Token",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="Sent to it as a bearer token, kept sealed, never shown again.",
    )
    metadata = forms.CharField(
        required=False, widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}), label="Metadata, as JSON",
        help_text='What the server does not tell, such as {"features": [{"name": "income", "type": "float"}], '
        '"classes": ["0", "1"]}.',
    )  # fmt: skip


def empty_form() -> EndpointForm:
    """Return the form as it is first shown; its fields stand beside others on a page, so its ids have a prefix."""
    return EndpointForm(auto_id="endpoint_%s")


@page("GET", "POST", writes="version")
def endpoint(request: PageRequest, name: str) -> HttpResponse:
    """Take a server that already runs as a version, or say at which field why not."""
    frame = frame_of(request, name, "versions")
    form = EndpointForm(request.POST, auto_id="endpoint_%s") if request.method == "POST" else empty_form()
    made = _add_version(request, frame["model"], form) if request.method == "POST" else None
    if made is not None:
        url = reverse("version", args=[name, made.version])
        if request.htmx:  # type: ignore[attr-defined]
            return HttpResponse(status=204, headers={"HX-Redirect": url})
        return redirect(url)
    template = "partials/endpoint_form.html" if request.htmx else "pages/models/versions/endpoint.html"  # type: ignore[attr-defined]
    return render(request, template, frame | {"endpoint_form": form}, status=422 if form.errors else 200)


def _add_version(request: PageRequest, model: Model, form: EndpointForm) -> Version | None:
    """Try the server and return its version; None where it was refused, with the reasons in the form."""
    if not form.is_valid():
        return None
    try:
        version, is_new = register_endpoint(
            model=model, body=_remote_version(form.cleaned_data), actor=request.visitor.actor
        )
    except Problem as problem:
        faults = [replace(one, pointer=one.pointer.removeprefix("/endpoint")) for one in problem.errors]
        explain(form, Problem(problem.status, problem.code, problem.detail, faults))
        return None
    if not is_new:
        messages.info(request, f"This endpoint is version {version.version} already.")
        return version
    await_uptake(model=model, home=settings.HOME)
    messages.success(request, f"Version {version.version} is added. {Intake.of(version).sentence}")
    return version


def _remote_version(fields: dict[str, Any]) -> RemoteVersionIn:
    endpoint = {name: fields[name] for name in ("url", "protocol", "model")}
    endpoint |= {name: fields[name] for name in ("version", "token") if fields[name]}
    metadata = read_json(fields["metadata"].encode()) if fields["metadata"].strip() else {}
    try:
        return RemoteVersionIn.model_validate({"endpoint": endpoint, "metadata": metadata})
    except ValidationError as error:
        first = error.errors()[0]
        pointer = "".join(f"/{part}" for part in first["loc"])
        raise invalid(pointer, f"{first['msg']}.") from error


def facts_of(version: Version) -> list[tuple[str, str]]:
    """Return of a remote version's endpoint what may be shown: never the credential, only whether there is one."""
    described = version.endpoint or {}
    names = ", ".join(f"{ours} is {theirs}" for ours, theirs in described.get("names", {}).items())
    facts = [
        ("Address", described["url"]),
        ("It speaks", dict(PROTOCOLS)[described["protocol"]]),
        ("It calls the model", described["model"]),
        ("Its version", described["version"] or "the one that it answers with"),
        ("Tensors that it calls otherwise", names),
        ("Credential", "sealed" if version.credential else "none"),
        ("A call takes at most", f"{described['timeout_ms']:,} ms and {described['max_rows']:,} rows"),
    ]
    return [(name, text) for name, text in facts if text]
