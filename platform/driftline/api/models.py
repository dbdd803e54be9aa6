"""Models over HTTP. They are here because the registry has what a model is, and the monitors how it is watched."""

from django.db import transaction
from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status

from driftline.api.schemas import ModelOut, RetentionPreviewOut, RetriedOut
from driftline.base.accounts.access.http_auth import Caller, Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.clock import now
from driftline.base.http.paging import PAGE_SIZE, cut_page
from driftline.base.http.responses import Page
from driftline.operations.progress import progress_of, progress_of_each
from driftline.operations.stuck_work import retry, stuck_work, stuck_work_of_each
from inference.registry import services
from inference.registry.models import Model
from inference.registry.selectors import get_model
from inference.registry.settings import RetentionChanges
from monitors import retention_preview
from monitors.definitions.segments import set_segments
from monitors.model_settings import ChangedModel, ModelChanges, NewModel
from monitors.workflows.models import Workflow
from monitors.workflows.services import configure_workflow

router = Router(tags=["registry"])


@router.post("/models", auth=Scoped(SCOPE_OF["model"]), response={201: ModelOut})
def create_model(request: HttpRequest, body: NewModel) -> Status[ModelOut]:
    """Create a model, which is watched from its first prediction on."""
    caller = caller_of(request)
    caller.check_rights(body.changed_things())
    with transaction.atomic():
        model = services.create_model(project=caller.project, actor=caller.actor, **body.registry_settings())
        _watch(model, caller, body)
    return Status(201, _describe(model))


@router.get("/models", auth=Scoped(Scope.READ), response=Page[ModelOut])
def list_models(
    request: HttpRequest,
    archived: bool = False,
    search: str = "",
    task: str = "",
    owner: str = "",
    tag: str = "",
    cursor: str = "",
    limit: int = PAGE_SIZE,
) -> Page[ModelOut]:
    """List the project's models, or those that are archived; by a text in name or description, task, owner and tag."""
    models = (
        Model.objects.of_project(caller_of(request).project)
        .filter(archived_at__isnull=not archived)
        .matching(search=search, task=task, owner=owner, tag=tag)
        .select_related("deployment__champion", "workflow")
    )
    found, following = cut_page(
        models.prefetch_related("segment_features"), by=("pk",), cursor=cursor, limit=limit
    )
    progress, stuck = progress_of_each(found), stuck_work_of_each(found)
    items = [
        ModelOut.of(
            model,
            progress[model.pk],
            stuck[model.pk],
            model.workflow if hasattr(model, "workflow") else Workflow(model=model),
        )
        for model in found
    ]
    return Page(items=items, next=following)


@router.get("/models/{name}", auth=Scoped(Scope.READ), response=ModelOut)
def read_model(request: HttpRequest, name: str) -> ModelOut:
    """Read one model; `computed_until` says up to which event time everything is computed and acted on."""
    return _describe(get_model(project=caller_of(request).project, name=name))


@router.patch("/models/{name}", auth=Scoped(SCOPE_OF["model"]), response=ModelOut)
def change_model(request: HttpRequest, name: str, body: ChangedModel) -> ModelOut:
    """Change the fields that are sent."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    caller.check_rights(body.changed_things())
    with transaction.atomic():
        if changes := body.registry_settings():
            services.update_model(model=model, actor=caller.actor, **changes)
        _watch(model, caller, body)
    return _describe(model)


@router.post("/models/{name}/retry", auth=Scoped(Scope.WRITE), response=RetriedOut)
def retry_failed(request: HttpRequest, name: str) -> RetriedOut:
    """Retry everything of a model that could not be summarised, measured or judged."""
    caller = caller_of(request)
    model = get_model(project=caller.project, name=name)
    return RetriedOut(retried=retry(model=model, actor=caller.actor))


@router.post("/models/{name}/retention/preview", auth=Scoped(Scope.READ), response=RetentionPreviewOut)
def preview_retention(request: HttpRequest, name: str, body: RetentionChanges) -> RetentionPreviewOut:
    """Return what a changed retention would delete, beside what is due to go anyway. Nothing is changed.

    What is not sent stays as it is. Bytes are those of chunks and summaries, as they are stored.
    """
    model = get_model(project=caller_of(request).project, name=name)
    changes = body.model_dump(exclude_unset=True)
    return RetentionPreviewOut.of(retention_preview.preview_retention(model=model, now=now(), **changes))


def _watch(model: Model, caller: Caller, body: ModelChanges) -> None:
    if "archived" in body.model_fields_set:
        services.archive_model(model=model, is_archived=body.archived, actor=caller.actor)
    if "segments" in body.model_fields_set:
        set_segments(model=model, features=body.segments, actor=caller.actor)
    if "workflow" in body.model_fields_set:
        configure_workflow(model=model, actor=caller.actor, **body.workflow.model_dump(exclude_unset=True))


def _describe(model: Model) -> ModelOut:
    return ModelOut.of(model, progress_of(model), stuck_work([model]), Workflow.of(model))
