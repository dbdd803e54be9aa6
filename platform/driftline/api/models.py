"""Models over HTTP. They are the roof's: what a model is lies in the registry, how it is watched in the monitors."""

from typing import Any

from django.db import transaction
from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.accounts.http_auth import Caller, Scoped, caller_of
from driftline.common.bodies import Body
from driftline.common.paging import PAGE_SIZE, page
from driftline.common.periods import rfc3339
from driftline.progress import computed_until, model_status
from inference.prediction_log.selectors import newest_event
from inference.registry import services
from inference.registry.models import Model
from inference.registry.selectors import get_model
from monitors.definitions.services import set_segments
from monitors.workflows.selectors import describe_workflow
from monitors.workflows.services import configure_workflow

router = Router(tags=["registry"])

_REGISTRY_FIELDS = ("description", "autonomy", "objectives")


class ModelChanges(Body):
    description: str = Field("", max_length=500)
    autonomy: str = Field("approve", max_length=10)
    objectives: dict[str, Any] = {}
    segments: list[str] = Field([], max_length=20)
    workflow: dict[str, Any] = {}


class NewModel(ModelChanges):
    name: str
    task: str


@router.post("/models", auth=Scoped("write"), response={201: dict[str, Any]})
def create_model(request: HttpRequest, body: NewModel) -> Any:
    """Create a model, which is watched from its first prediction on."""
    caller, given = caller_of(request), body.given()
    settings = {name: value for name, value in given.items() if name in ("name", "task", *_REGISTRY_FIELDS)}
    with transaction.atomic():
        model = services.create_model(project=caller.project, actor=caller.actor, **settings)
        _watch(model, caller, given)
    return Status(201, describe_model(model))


@router.get("/models", auth=Scoped("read"))
def list_models(request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE) -> Any:
    """List the project's models."""
    models = Model.objects.of_project(caller_of(request).project).select_related("deployment__champion")
    return page(models, describe_model, by=("pk",), cursor=cursor, limit=limit)


@router.get("/models/{name}", auth=Scoped("read"))
def read_model(request: HttpRequest, name: str) -> Any:
    """Read one model; `computed_until` says up to which event time everything is computed and acted on."""
    return describe_model(get_model(project=caller_of(request).project, name=name))


@router.patch("/models/{name}", auth=Scoped("write"))
def change_model(request: HttpRequest, name: str, body: ModelChanges) -> Any:
    """Change the fields that are sent."""
    caller, given = caller_of(request), body.given()
    changes = {field: value for field, value in given.items() if field in _REGISTRY_FIELDS}
    model = get_model(project=caller.project, name=name)
    with transaction.atomic():
        if changes:
            services.update_model(model=model, actor=caller.actor, **changes)
        _watch(model, caller, given)
    return describe_model(model)


def _watch(model: Model, caller: Caller, given: dict[str, Any]) -> None:
    if "segments" in given:
        set_segments(model=model, features=given["segments"])
    if "workflow" in given:
        configure_workflow(model=model, actor=caller.actor, **given["workflow"])


def describe_model(model: Model) -> dict[str, Any]:
    """Write a model as the API gives it."""
    deployment, until, newest = model.deployment, computed_until(model), newest_event(model)
    return {
        "id": model.pk,
        "name": model.name,
        "task": model.task,
        "description": model.description,
        "status": model_status(model),
        "autonomy": model.autonomy,
        "objectives": model.objectives,
        "segments": sorted(model.segments.values_list("feature", flat=True)),
        "champion": deployment.champion.version if deployment.champion else None,
        "generation": deployment.generation,
        "computed_until": rfc3339(until) if until else None,
        "newest_event": rfc3339(newest) if newest else None,
        "created_at": rfc3339(model.created_at),
        "workflow": describe_workflow(model),
    }
