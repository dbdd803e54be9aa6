"""Versions and deployments over HTTP."""

from typing import Annotated, Literal

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest
from ninja import Router
from ninja.errors import ValidationError
from ninja.responses import Status
from pydantic import Field
from pydantic import ValidationError as PydanticError

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.errors import invalid
from driftline.base.http.bodies import Body
from driftline.base.http.downloads import Download, rest_of_file
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.request_values import expected_generation, media_type, read_body
from driftline.base.http.responses import Page, files
from driftline.base.strict_json import read_json
from inference.registry import deployments
from inference.registry.aliases import remove_alias, set_alias
from inference.registry.endpoints.schemas import RemoteVersionIn
from inference.registry.endpoints.services import register_endpoint
from inference.registry.files.downloads import open_artifact
from inference.registry.hooks import describe_canary_split
from inference.registry.lineage import MAX_BYTES, Lineage, read_lineage
from inference.registry.models import Deployment, Model, Version
from inference.registry.plan.canary import KEY, CanaryWanted
from inference.registry.plan.plan_uptake import await_uptake
from inference.registry.schemas import AliasOut, DeploymentOut, VersionOut
from inference.registry.selectors import get_model, get_version
from inference.registry.versions import archive_version, update_version
from inference.registry.versions import upload_version as take_upload
from inference.serving.crashes import quarantined
from inference.serving.status.status import live_reports

router = Router(tags=["registry"])

_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "the ONNX file"},
                        "metadata": {
                            "type": "string",
                            "description": "JSON: features, outputs, classes, missing",
                        },
                        "lineage": {
                            "type": "string",
                            "description": "JSON: trainer, parameters, seed, parent, trigger, data, libraries, parity",
                        },
                        "version": {"type": "string", "description": "its name; the next number without one"},
                    },
                }
            },
            "application/json": {
                "schema": RemoteVersionIn.model_json_schema(ref_template="#/components/schemas/{model}")
            },
        },
    }
}


class CanaryIn(Body):
    version: str = Field(max_length=64)
    weight: float = Field(gt=0, lt=1)
    key: str = Field("subject", pattern=f"^({KEY})$")


class DeploymentChanges(Body):
    shadows: list[str] | None = Field(None, max_length=8)
    shadow_shares: dict[str, Annotated[float, Field(gt=0, le=1)]] | None = Field(None, max_length=8)
    canary: CanaryIn | None = None
    reason: str = Field("", max_length=500)


class VersionChanges(Body):
    execution_provider: str | None = Field(None, max_length=16)
    quarantined: Literal[False] | None = None
    archived: bool | None = Field(None, description="true: it is not listed, and cannot be deployed")


class Promotion(Body):
    version: str = Field(max_length=64)
    reason: str = Field("", max_length=500)


class Rollback(Body):
    reason: str = Field("", max_length=500)


class AliasTarget(Body):
    version: str = Field(max_length=64)


def model_of(request: HttpRequest, name: str) -> Model:
    """Find the caller's model, whose name is part of the path."""
    return get_model(project=caller_of(request).project, name=name)


# -- versions ----------------------------------------------------------------------------------------------------------
@router.post(
    "/models/{name}/versions",
    auth=Scoped(SCOPE_OF["version"]),
    openapi_extra=_UPLOAD,
    response={200: VersionOut, 201: VersionOut},
)
def upload_version(request: HttpRequest, name: str) -> Status[VersionOut]:
    """Upload an ONNX file, which a sandboxed child opens first. The first accepted version becomes champion.

    As JSON, name an endpoint of a server that you run already: it is asked for some rows first, and Driftline then
    forwards requests to it, with deadline, retries and circuit breaker, and logs and compares its answers.
    Answers when every serving process has the version, so that it can be asked at once: 201, or 200 where a
    version holds the same bytes and metadata already.
    """
    model = model_of(request, name)
    if media_type(request, ("multipart/form-data", "application/json")) == "application/json":
        version, is_new = register_endpoint(
            model=model, body=_remote_version(request), actor=caller_of(request).actor
        )
        await_uptake(model=model, home=settings.HOME)
        return Status(201 if is_new else 200, _describe_now(version))
    file = request.FILES.get("file")
    if file is None:
        raise invalid("/file", "The form has no part 'file' that holds the ONNX.", "missing_field")
    name_part = _part(request, "version")
    version, is_new = take_upload(
        model=model,
        stream=file,
        metadata=_part(request, "metadata"),
        lineage=_lineage(_part(request, "lineage"), model),
        actor=caller_of(request).actor,
        name=name_part.decode("utf-8", "replace") if name_part else None,
        expected_sha256=request.headers.get("Driftline-Sha256"),
    )
    await_uptake(model=model, home=settings.HOME)
    return Status(201 if is_new else 200, _describe_now(version))


@router.get("/models/{name}/versions", auth=Scoped(Scope.READ), response=Page[VersionOut])
def list_versions(
    request: HttpRequest, name: str, archived: bool = False, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[VersionOut]:
    """List a model's versions, or those that are archived, newest first."""
    model = model_of(request, name)
    reports, held_back = list(live_reports(settings.HOME)), quarantined(settings.HOME)
    return page(
        model.versions.filter(archived_at__isnull=not archived).prefetch_related("aliases"),
        lambda version: VersionOut.of(version, reports, held_back),
        by=("-pk",),
        cursor=cursor,
        limit=limit,
    )


@router.get("/models/{name}/versions/{version}", auth=Scoped(Scope.READ), response=VersionOut)
def read_version(request: HttpRequest, name: str, version: str) -> VersionOut:
    """Read one version with its signature and what the intake found."""
    found = get_version(model=model_of(request, name), version=version)
    return _describe_now(found)


@router.patch("/models/{name}/versions/{version}", auth=Scoped(SCOPE_OF["version"]), response=VersionOut)
def change_version(request: HttpRequest, name: str, version: str, body: VersionChanges) -> VersionOut:
    """Choose the execution provider of a version, lift the quarantine that it got by crashing, archive or restore it.

    `serving` of the answer tells which provider each serving process uses, and why where it is another. An archived
    version is not listed and cannot be deployed; one that is deployed, is the previous champion or has an alias cannot
    be archived (409).
    """
    model, actor = model_of(request, name), caller_of(request).actor
    with transaction.atomic():
        changed = update_version(
            version=get_version(model=model, version=version),
            actor=actor,
            execution_provider=body.execution_provider,
            lift_quarantine=body.quarantined is False,
        )
        if body.archived is not None:
            archive_version(version=changed, is_archived=body.archived, actor=actor)
    await_uptake(model=model, home=settings.HOME)
    return _describe_now(changed)


@router.get(
    "/models/{name}/versions/{version}/artifact",
    auth=Scoped(SCOPE_OF["version.artifact"]),
    openapi_extra=files("application/octet-stream"),
)
def read_artifact(request: HttpRequest, name: str, version: str) -> Download:
    """Download the ONNX of a version; each download is audited."""
    found = get_version(model=model_of(request, name), version=version)
    file = open_artifact(version=found, actor=caller_of(request).actor)
    return rest_of_file(request, file, name=f"{name}-{version}.onnx")


def _describe_now(version: Version) -> VersionOut:
    return VersionOut.of(version, live_reports(settings.HOME), quarantined(settings.HOME))


def _remote_version(request: HttpRequest) -> RemoteVersionIn:
    body = read_json(read_body(request, cap=MAX_BYTES))
    try:
        return RemoteVersionIn.model_validate(body)
    except PydanticError as error:  # as ninja's own, which has already chosen how to read the body
        raise ValidationError(
            [{**fault, "loc": ("body", "body", *fault["loc"])} for fault in error.errors()]
        ) from error


def _part(request: HttpRequest, name: str) -> bytes | None:
    """Read a part of the form, whether it was sent as a field or as a file."""
    file = request.FILES.get(name)
    if file is not None:
        return file.read(1 << 20)
    text = request.POST.get(name)
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _lineage(text: bytes | None, model: Model) -> Lineage:
    if text is not None and len(text) > MAX_BYTES:
        raise invalid("/lineage", f"The lineage has more than {MAX_BYTES >> 10} KiB; tell less.")
    return read_lineage(read_json(text) if text else {}, model=model)


# -- aliases -----------------------------------------------------------------------------------------------------------
@router.get("/models/{name}/aliases", auth=Scoped(Scope.READ), response=Page[AliasOut])
def list_aliases(request: HttpRequest, name: str) -> Page[AliasOut]:
    """List the names that people gave to versions."""
    aliases = model_of(request, name).aliases.select_related("version").order_by("name")
    return Page(items=[AliasOut.of(alias) for alias in aliases], next=None)


@router.put("/models/{name}/aliases/{alias}", auth=Scoped(SCOPE_OF["alias"]), response=AliasOut)
def put_alias(request: HttpRequest, name: str, alias: str, body: AliasTarget) -> AliasOut:
    """Point a name such as `stable` at a version; where it pointed before does not matter."""
    model = model_of(request, name)
    return AliasOut.of(
        set_alias(model=model, name=alias, version=body.version, actor=caller_of(request).actor)
    )


@router.delete("/models/{name}/aliases/{alias}", auth=Scoped(SCOPE_OF["alias"]), response={204: None})
def delete_alias(request: HttpRequest, name: str, alias: str) -> Status[None]:
    """Take a name away; the version stays."""
    remove_alias(model=model_of(request, name), name=alias, actor=caller_of(request).actor)
    return Status(204, None)


# -- the deployment ----------------------------------------------------------------------------------------------------
@router.get("/models/{name}/deployment", auth=Scoped(Scope.READ), response=DeploymentOut)
def read_deployment(request: HttpRequest, name: str) -> DeploymentOut:
    """Return which version answers, which get a copy of each request, and how a canary's traffic is split."""
    return _describe(model_of(request, name).deployment)


@router.patch("/models/{name}/deployment", auth=Scoped(SCOPE_OF["deployment"]), response=DeploymentOut)
def change_deployment(request: HttpRequest, name: str, body: DeploymentChanges) -> DeploymentOut:
    """Choose the shadows, the share of rows that each gets, and the canary. Send `If-Match: <generation>`.

    What is left out stays as it is; `"canary": null` ends the canary. The canary answers a share `weight` of the
    keys, which are the requests' subjects, their ids (`client_id`) or a tag (`tag:<name>`).
    """
    canary = body.canary
    deployment = deployments.change_deployment(
        model=model_of(request, name),
        shadows=body.shadows,
        shadow_shares=body.shadow_shares,
        canary=CanaryWanted(canary.version, canary.weight, canary.key) if canary is not None else None,
        without_canary=canary is None and "canary" in body.model_fields_set,
        expected_generation=expected_generation(request),
        actor=caller_of(request).actor,
        reason=body.reason,
    )
    return _describe(deployment, is_awaited=True)


@router.post("/models/{name}/promote", auth=Scoped(SCOPE_OF["deployment"]), response=DeploymentOut)
def promote(request: HttpRequest, name: str, body: Promotion) -> DeploymentOut:
    """Make a version answer from now on. Send `If-Match: <generation>`; answers when every serving process has it."""
    deployment = deployments.promote(
        model=model_of(request, name),
        version=body.version,
        expected_generation=expected_generation(request),
        actor=caller_of(request).actor,
        reason=body.reason,
    )
    return _describe(deployment, is_awaited=True)


@router.post("/models/{name}/rollback", auth=Scoped(SCOPE_OF["deployment"]), response=DeploymentOut)
def rollback(request: HttpRequest, name: str, body: Rollback | None = None) -> DeploymentOut:
    """Make the previous champion answer again. Send `If-Match: <generation>`."""
    deployment = deployments.rollback(
        model=model_of(request, name),
        expected_generation=expected_generation(request),
        actor=caller_of(request).actor,
        reason=body.reason if body else "",
    )
    return _describe(deployment, is_awaited=True)


def _describe(deployment: Deployment, *, is_awaited: bool = False) -> DeploymentOut:
    uptake = await_uptake(model=deployment.model, home=settings.HOME) if is_awaited else None
    return DeploymentOut.of(deployment, describe_canary_split(deployment), uptake)
