"""The optimiser over HTTP."""

from django.conf import settings
from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from inference.registry.models import Version
from inference.registry.plan.plan_uptake import await_uptake
from inference.registry.schemas import VersionOut
from inference.registry.selectors import get_model, get_version
from inference.serving.crashes import quarantined
from inference.serving.status.status import live_reports
from monitors.optimiser.models import Optimisation
from monitors.optimiser.schemas import OptimisationOut, VariantOut, VariantsOut
from monitors.optimiser.selectors import get_variant, optimisation_of, progress_of, variants_of
from monitors.optimiser.services import register_variant, request_optimisation

router = Router(tags=["registry"])


@router.post(
    "/models/{name}/versions/{version}/variants",
    auth=Scoped(SCOPE_OF["variants"]),
    response={202: OptimisationOut},
)
def optimise_version(request: HttpRequest, name: str, version: str) -> Status[OptimisationOut]:
    """Ask a worker to build and measure every variant of a version.

    Asked for again while that goes on, it changes nothing; later, the variants are measured anew.
    """
    found = _version(request, name, version)
    optimisation = request_optimisation(version=found, actor=caller_of(request).actor)
    return Status(202, _describe(optimisation))


@router.get("/models/{name}/versions/{version}/variants", auth=Scoped(Scope.READ), response=VariantsOut)
def list_variants(request: HttpRequest, name: str, version: str) -> VariantsOut:
    """List a version's variants with what each gains and costs, and how far the optimisation is.

    `optimisation` is null where nobody has asked for one.
    """
    found = _version(request, name, version)
    optimisation = optimisation_of(found)
    return VariantsOut(
        items=[VariantOut.of(variant) for variant in variants_of(found)],
        next=None,
        optimisation=_describe(optimisation) if optimisation else None,
    )


@router.post(
    "/models/{name}/versions/{version}/variants/{kind}/register",
    auth=Scoped(SCOPE_OF["variant.register"]),
    response={200: VersionOut, 201: VersionOut},
)
def register(request: HttpRequest, name: str, version: str, kind: str) -> Status[VersionOut]:
    """Make a version of a variant that gains: 201, or 200 where a version holds the same bytes already."""
    found = _version(request, name, version)
    made, is_new = register_variant(
        variant=get_variant(version=found, kind=kind), actor=caller_of(request).actor
    )
    await_uptake(model=found.model, home=settings.HOME)
    described = VersionOut.of(made, live_reports(settings.HOME), quarantined(settings.HOME))
    return Status(201 if is_new else 200, described)


def _describe(optimisation: Optimisation) -> OptimisationOut:
    return OptimisationOut.of(optimisation, progress_of(optimisation))


def _version(request: HttpRequest, name: str, version: str) -> Version:
    return get_version(model=get_model(project=caller_of(request).project, name=name), version=version)
