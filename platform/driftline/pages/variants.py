"""The optimiser's table on a version's page: asked for, followed while a worker fills it, and a row made a version."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from driftline.pages.access import PageRequest, page
from inference.registry.models import Version
from inference.registry.plan_uptake import await_uptake
from inference.registry.selectors import find_model, get_version
from monitors.metrics.quality_effect import main_metric
from monitors.optimiser.models import Variant
from monitors.optimiser.selectors import get_variant, optimisation_of, progress_of, title_of, variants_of
from monitors.optimiser.services import register_variant, request_optimisation

_BADGES = {"gain": "ok", "no_gain": "no_data", "refused": "critical", "not_applicable": "no_data"}


@dataclass(frozen=True)
class Original:
    """What the variants are compared with, as the first measured one found it."""

    source: str
    rows: int
    labelled: int
    metric: str
    quality: float | None
    medians_us: list[float | None]


@dataclass(frozen=True)
class VariantRow:
    """One variant as the table shows it; what was not measured is None."""

    variant: Variant
    title: str
    badge: str
    quality: float | None
    agreement: float | None
    mean_difference: float | None
    size_share: float | None
    timings: list[dict[str, Any]]


@page("GET", "POST", writes="variants")
def variants(request: PageRequest, name: str, version: str) -> HttpResponse:
    """Show how far the table is; a POST asks for it, or makes a version of one of its rows."""
    model = find_model(project=request.visitor.project, name=name)
    one = get_version(model=model, version=version)
    if request.method == "POST":
        kind = request.POST.get("register")
        return _register(request, one, kind) if kind else _optimise(request, one)
    if request.GET.get("part") == "variants":
        return render(request, "partials/variants.html", {"model": model, "one": one, **table_of(one)})
    return redirect("version", name=model.name, version=one.version)


def table_of(version: Version) -> dict[str, Any]:
    """Gather what the table of a version's variants shows."""
    optimisation, variants = optimisation_of(version), variants_of(version)
    measured = next((variant.measured for variant in variants if variant.measured), None)
    original = _original(measured, main_metric(version.model)) if measured else None
    return {
        "optimisation": optimisation,
        "optimised_share": progress_of(optimisation) if optimisation else None,
        "variants": [_row(variant, original.metric if original else "") for variant in variants],
        "original": original,
    }


def _original(measured: dict[str, Any], main: str) -> Original:
    """Show the model's main metric, or another one where the labels do not allow that."""
    quality = measured["quality"]
    metric = main if main in quality else next(iter(quality), "")
    return Original(
        source=measured["source"],
        rows=measured["rows"],
        labelled=measured["labelled"],
        metric=metric,
        quality=quality[metric]["original"] if metric else None,
        medians_us=[timing["original_us"][1] for timing in measured["timings"]],
    )


def _row(variant: Variant, metric: str) -> VariantRow:
    measured = variant.measured or {}
    return VariantRow(
        variant=variant,
        title=title_of(variant),
        badge=_BADGES[variant.status],
        quality=measured.get("quality", {}).get(metric, {}).get("variant"),
        agreement=measured.get("agreement"),
        mean_difference=measured.get("mean_difference"),
        size_share=variant.size / variant.version.size if variant.size else None,
        timings=measured.get("timings", []),
    )


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
