"""The optimiser's table on a version's page: asked for, followed while a worker fills it, and a row made a version."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.web.pages.access import PageRequest, page
from inference.registry.models import Version
from inference.registry.plan.plan_uptake import await_uptake
from inference.registry.selectors import find_model, get_version
from monitors.optimiser.selectors import get_variant
from monitors.optimiser.services import register_variant, request_optimisation
from monitors.optimiser.table import table_of


@page("GET", "POST", writes="variants")
def variants(request: PageRequest, name: str, version: str) -> HttpResponse:
    """Show how far the table is; a POST asks for it, or makes a version of one of its rows."""
    model = find_model(project=request.visitor.project, name=name)
    one = get_version(model=model, version=version)
    if request.method == "POST":
        kind = request.POST.get("register")
        return _register(request, one, kind) if kind else _optimise(request, one)
    if request.GET.get("part") == "variants":
        return render(
            request, "features/optimiser/variants.html", {"model": model, "one": one, **table_of(one)}
        )
    return redirect("version", name=model.name, version=one.version)


def _optimise(request: PageRequest, version: Version) -> HttpResponse:
    request_optimisation(version=version, actor=request.visitor.actor)
    messages.success(
        request, f"The variants of version {version.version} are being built; you may leave this page."
    )
    return redirect("version", name=version.model.name, version=version.version)


def _register(request: PageRequest, version: Version, kind: str) -> HttpResponse:
    request.visitor.check_rights({"/register": "variant.register"})
    variant = get_variant(version=version, kind=kind[:20])
    made, is_new = register_variant(variant=variant, actor=request.visitor.actor)
    await_uptake(model=version.model, home=settings.HOME)
    outcome = "is added; it answers nobody until it is deployed" if is_new else "holds these bytes already"
    messages.success(request, f"Version {made.version} {outcome}.")
    return redirect("version", name=version.model.name, version=made.version)
