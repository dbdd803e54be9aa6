"""Over HTTP: imports of whole MLflow registries."""

from typing import Literal

from django.http import HttpRequest
from ninja import Router
from ninja.responses import Status
from pydantic import Field

from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.errors import invalid
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page
from monitors.workflows.mlflow.registry_imports import services
from monitors.workflows.mlflow.registry_imports.catalogue import MAX_MODELS
from monitors.workflows.mlflow.registry_imports.models import RegistryImport
from monitors.workflows.mlflow.registry_imports.schemas import (
    ImportedModelOut,
    ImportStarted,
    RegistryImportOut,
)
from monitors.workflows.mlflow.registry_imports.selectors import (
    imports_of,
    models_of,
    progress_of,
    progress_of_each,
)

router = Router(tags=["registry"])
_CHANGES = Scoped(SCOPE_OF["version"])


class RegistryIn(Body):
    """Which registry. `secret` is a token, or `user:password`; `search` is a part of the names that are listed."""

    url: str = Field(max_length=500)
    secret: str = Field("", max_length=4096)
    search: str = Field("", max_length=200)


class ChosenModel(Body):
    registered_model: str = Field(max_length=250)
    name: str = Field("", max_length=100, description="of the model here; empty: the proposed one")


class ImportStart(Body):
    """What to import: without `models` all that have a name here.

    `task` is of new models where the file does not tell it.
    """

    models: list[ChosenModel] | None = Field(None, max_length=MAX_MODELS)
    versions: Literal["aliases", "all"] = "aliases"
    follow: bool = False
    task: str = Field("", max_length=20)


@router.post("/mlflow-imports", auth=_CHANGES, response={202: RegistryImportOut})
def list_mlflow_registry(request: HttpRequest, body: RegistryIn) -> Status[RegistryImportOut]:
    """Ask a worker to list the registered models of an MLflow server; nothing is imported before it is started."""
    caller = caller_of(request)
    made = services.list_registry(project=caller.project, actor=caller.actor, **body.model_dump())
    return Status(202, _describe(made))


@router.get("/mlflow-imports", auth=Scoped(Scope.READ), response=Page[RegistryImportOut])
def list_mlflow_imports(
    request: HttpRequest, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[RegistryImportOut]:
    """List the imports of MLflow registries, newest first."""
    imports = imports_of(caller_of(request).project)
    progress = progress_of_each(list(imports))
    return page(
        imports,
        lambda found: RegistryImportOut.of(found, progress[found.pk]),
        by=("-pk",),
        cursor=cursor,
        limit=limit,
    )


@router.get("/mlflow-imports/{int:registry_import_id}", auth=Scoped(Scope.READ), response=RegistryImportOut)
def read_mlflow_import(request: HttpRequest, registry_import_id: int) -> RegistryImportOut:
    """Read how far an import is."""
    return _describe(_import(request, registry_import_id))


@router.delete("/mlflow-imports/{int:registry_import_id}", auth=_CHANGES, response={204: None})
def forget_mlflow_import(request: HttpRequest, registry_import_id: int) -> Status[None]:
    """Remove an import with its secret; models and versions that came stay."""
    services.forget_import(
        registry_import=_import(request, registry_import_id), actor=caller_of(request).actor
    )
    return Status(204, None)


@router.get(
    "/mlflow-imports/{int:registry_import_id}/models",
    auth=Scoped(Scope.READ),
    response=Page[ImportedModelOut],
)
def list_mlflow_import_models(
    request: HttpRequest, registry_import_id: int, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[ImportedModelOut]:
    """List the registered models by their names, with what became of each of their versions."""
    rows = models_of(_import(request, registry_import_id))
    return page(rows, ImportedModelOut.of, by=("registered_model", "pk"), cursor=cursor, limit=limit)


@router.post("/mlflow-imports/{int:registry_import_id}/start", auth=_CHANGES, response=ImportStarted)
def start_mlflow_import(
    request: HttpRequest, registry_import_id: int, body: ImportStart | None = None
) -> ImportStarted:
    """Import the chosen registered models. What was imported before stays as it is, so it may be sent again.

    Of each the versions with the alias champion, production or challenger come, else the newest; or all that are ready.
    In a new model the one with the alias champion answers, else production, else the newest. A model that is there
    keeps its champion. Where models are to be made, it needs the scope `write` too.
    """
    caller, body = caller_of(request), body or ImportStart.model_validate({})
    found = _import(request, registry_import_id)
    options = services.ImportOptions(body.versions, body.follow, body.task)
    started = services.start_import(
        registry_import=found,
        chosen=_chosen(body),
        options=options,
        actor=caller.actor,
        check_new=lambda: caller.check_rights({"/models": "model"}),
    )
    return ImportStarted(started)


@router.post("/mlflow-imports/{int:registry_import_id}/retry", auth=_CHANGES, response=ImportStarted)
def retry_mlflow_import(request: HttpRequest, registry_import_id: int) -> ImportStarted:
    """Try again what failed or was refused."""
    found = _import(request, registry_import_id)
    return ImportStarted(services.retry(registry_import=found, actor=caller_of(request).actor))


def _chosen(body: ImportStart) -> dict[str, str] | None:
    if body.models is None:
        return None
    chosen = {one.registered_model: one.name for one in body.models}
    if len(chosen) < len(body.models):
        raise invalid("/models", "A registered model is named twice; name each once.")
    return chosen


def _describe(found: RegistryImport) -> RegistryImportOut:
    return RegistryImportOut.of(found, progress_of(found))


def _import(request: HttpRequest, import_id: int) -> RegistryImport:
    return services.get_import(project=caller_of(request).project, import_id=import_id)
