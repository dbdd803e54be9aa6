"""Names of versions: a name is pointed at a version or taken away, after a page said what that changes."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.base.errors import Problem, not_found
from driftline.web.pages.access import PageRequest, page
from driftline.web.pages.models.model import frame_of
from inference.registry.aliases import check_alias_name, remove_alias, set_alias
from inference.registry.deployments import servable_version
from inference.registry.models import Alias, Model, Version


@page("GET", "POST", writes="alias")
def alias(request: PageRequest, name: str) -> HttpResponse:
    """Show what `?do=set&alias=...&version=...` or `?do=remove&alias=...` will do; a POST does it."""
    frame = frame_of(request, name, "versions")
    model: Model = frame["model"]
    action, alias = request.GET.get("do", ""), request.GET.get("alias", "").strip()
    check_alias_name(alias)
    if action == "set":
        return _set(request, frame, alias, servable_version(model, request.GET.get("version", "")))
    if action == "remove":
        return _remove(request, frame, alias)
    raise Problem(400, "unknown_action", f"{action[:40]!r} is no change of a name; use set or remove.")


def _set(request: PageRequest, frame: dict[str, object], alias: str, version: Version) -> HttpResponse:
    model = version.model
    if request.method == "POST":
        set_alias(model=model, name=alias, version=version.version, actor=request.visitor.actor)
        messages.success(request, f"{alias} names version {version.version} now.")
        return redirect("versions", name=model.name)
    before = _named(model, alias)
    effects = [f"{alias} will name version {version.version}."]
    if before is not None:
        effects = [
            f"{alias} names version {before.version} and will name version {version.version} instead, at once."
        ]
    effects += ["Whoever asks the API which version the name stands for gets that one.", _WHO_ANSWERS]
    frame |= {
        "title": f"Let {alias} name version {version.version}",
        "effects": effects,
        "yes": "Yes, let it",
        "may_confirm": request.visitor.may_deploy,
    }
    return render(request, "pages/models/versions/confirm.html", frame)


def _remove(request: PageRequest, frame: dict[str, object], alias: str) -> HttpResponse:
    model = frame["model"]
    assert isinstance(model, Model)
    if request.method == "POST":
        remove_alias(model=model, name=alias, actor=request.visitor.actor)
        messages.success(request, f"{alias} names no version any more.")
        return redirect("versions", name=model.name)
    named = _named(model, alias)
    if named is None:
        raise not_found("alias")
    effects = [f"{alias} will name no version any more, so whoever asks the API for it finds nothing."]
    effects += [f"Version {named.version} stays as it is.", _WHO_ANSWERS]
    frame |= {
        "title": f"Take the name {alias} away",
        "effects": effects,
        "yes": "Yes, take it away",
        "may_confirm": request.visitor.may_deploy,
    }
    return render(request, "pages/models/versions/confirm.html", frame)


_WHO_ANSWERS = "Which version answers requests does not change."


def _named(model: Model, alias: str) -> Version | None:
    row = Alias.objects.filter(model=model, name=alias).select_related("version").first()
    return row.version if row else None
