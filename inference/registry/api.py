"""Versions and deployments over HTTP."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.accounts.http_auth import Scoped, caller_of
from driftline.common.bodies import Body
from driftline.common.errors import invalid
from driftline.common.json_body import read_json
from driftline.common.paging import PAGE_SIZE, page
from driftline.common.periods import rfc3339
from driftline.common.request_values import expected_generation, media_type
from inference.registry import services
from inference.registry.models import Deployment, Model, Version
from inference.registry.rollout import await_rollout
from inference.registry.selectors import get_model, get_version

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
                        "lineage": {"type": "string", "description": "JSON: where the version comes from"},
                    },
                }
            }
        },
    }
}


class Shadows(Body):
    shadows: list[str] = Field(max_length=8)
    reason: str = Field("", max_length=500)


class Promotion(Body):
    version: str = Field(max_length=64)
    reason: str = Field("", max_length=500)


class Rollback(Body):
    reason: str = Field("", max_length=500)


def model_of(request: HttpRequest, name: str) -> Model:
    """Find the caller's model, whose name is part of the path."""
    return get_model(project=caller_of(request).project, name=name)


# -- versions ----------------------------------------------------------------------------------------------------------
@router.post(
    "/models/{name}/versions", auth=Scoped("deploy"), openapi_extra=_UPLOAD, response={201: dict[str, Any]}
)
def upload_version(request: HttpRequest, name: str) -> Any:
    """Upload an ONNX file, which a sandboxed child opens first. The first accepted version becomes champion.

    Answers when every serving process has the version, so that it can be asked at once.
    """
    model = model_of(request, name)
    media_type(request, ("multipart/form-data",))
    file = request.FILES.get("file")
    if file is None:
        raise invalid("/file", "The form has no part 'file' that holds the ONNX.", "missing_field")
    version = services.upload_version(
        model=model,
        stream=file,
        metadata=_part(request, "metadata"),
        lineage=_lineage(_part(request, "lineage")),
        actor=caller_of(request).actor,
        expected_sha256=request.headers.get("Driftline-Sha256"),
    )
    await_rollout(model=model, home=settings.HOME)
    return Status(201, describe_version(version))


@router.get("/models/{name}/versions", auth=Scoped("read"))
def list_versions(request: HttpRequest, name: str, cursor: str = "", limit: int = PAGE_SIZE) -> Any:
    """List a model's versions, newest first."""
    model = model_of(request, name)
    return page(model.versions.all(), describe_version, by=("-pk",), cursor=cursor, limit=limit)


@router.get("/models/{name}/versions/{version}", auth=Scoped("read"))
def read_version(request: HttpRequest, name: str, version: str) -> Any:
    """Read one version with its signature and what the intake found."""
    return describe_version(get_version(model=model_of(request, name), version=version))


def describe_version(version: Version) -> dict[str, Any]:
    """Write a version as the API gives it."""
    return {
        "version": version.version,
        "sha256": version.sha256 or None,
        "size": version.size,
        "signature": version.signature,
        "intake_report": version.intake_report,
        "lineage": version.lineage,
        "created_at": rfc3339(version.created_at),
        "created_by": version.created_by,
        "is_external": version.is_external,
    }


def _part(request: HttpRequest, name: str) -> bytes | None:
    """Read a part of the form, whether it was sent as a field or as a file."""
    file = request.FILES.get(name)
    if file is not None:
        return file.read(1 << 20)
    text = request.POST.get(name)
    return None if text is None else text.encode("utf-8", "surrogatepass")


def _lineage(text: bytes | None) -> dict[str, Any]:
    lineage = read_json(text) if text else {}
    if not isinstance(lineage, dict):
        raise invalid("/lineage", "'lineage' must be a JSON object.")
    return lineage


# -- the deployment ----------------------------------------------------------------------------------------------------
@router.get("/models/{name}/deployment", auth=Scoped("read"))
def read_deployment(request: HttpRequest, name: str) -> Any:
    """Tell which version answers and which get a copy of each request."""
    return _answer(model_of(request, name).deployment)


@router.patch("/models/{name}/deployment", auth=Scoped("deploy"))
def change_shadows(request: HttpRequest, name: str, body: Shadows) -> Any:
    """Choose the shadows. Send `If-Match: <generation>`."""
    deployment = services.set_shadows(
        model=model_of(request, name),
        versions=body.shadows,
        expected_generation=expected_generation(request),
        actor=caller_of(request).actor,
        reason=body.reason,
    )
    return _answer(deployment, awaited=True)


@router.post("/models/{name}/promote", auth=Scoped("deploy"))
def promote(request: HttpRequest, name: str, body: Promotion) -> Any:
    """Let a version answer from now on. Send `If-Match: <generation>`; answers when every serving process has it."""
    deployment = services.promote(
        model=model_of(request, name),
        version=body.version,
        expected_generation=expected_generation(request),
        actor=caller_of(request).actor,
        reason=body.reason,
    )
    return _answer(deployment, awaited=True)


@router.post("/models/{name}/rollback", auth=Scoped("deploy"))
def rollback(request: HttpRequest, name: str, body: Rollback | None = None) -> Any:
    """Let the champion of before answer again. Send `If-Match: <generation>`."""
    deployment = services.rollback(
        model=model_of(request, name),
        expected_generation=expected_generation(request),
        actor=caller_of(request).actor,
        reason=body.reason if body else "",
    )
    return _answer(deployment, awaited=True)


def _answer(deployment: Deployment, *, awaited: bool = False) -> dict[str, Any]:
    answer = describe_deployment(deployment)
    if awaited:
        rollout = await_rollout(model=deployment.model, home=settings.HOME)
        answer["reported"] = [{"pid": pid, "generation": deployment.generation} for pid in rollout.reported]
        answer["missing"] = [{"pid": pid, "reason": reason} for pid, reason in rollout.missing.items()]
    return answer


def describe_deployment(deployment: Deployment) -> dict[str, Any]:
    """Write a deployment as the API gives it."""
    return {
        "champion": deployment.champion.version if deployment.champion else None,
        "previous": deployment.previous.version if deployment.previous else None,
        "shadows": sorted(deployment.shadows.values_list("version", flat=True)),
        "canary": None,
        "generation": deployment.generation,
    }
