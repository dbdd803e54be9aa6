"""Deleting and archiving over HTTP: a deletion lists what depends on it, and is confirmed by a name.

A path belongs to one router, so a deletion is a method of the router that has its path.
"""

from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Query
from ninja.responses import Status
from pydantic import Field

from driftline.api import models
from driftline.base.accounts.access.http_auth import Scoped, caller_of
from driftline.base.accounts.access.scopes import SCOPE_OF, Scope
from driftline.base.errors import not_found
from driftline.base.http.bodies import Body
from driftline.base.http.paging import PAGE_SIZE, page
from driftline.base.http.responses import Page, ResponseBody, Time
from inference.prediction_log.imports import api as imports
from inference.prediction_log.imports.schemas import ImportOut
from inference.prediction_log.imports.selectors import get_import
from inference.registry import api as registry
from inference.registry.models import Dataset, Model
from inference.registry.selectors import get_model, get_version
from monitors import deletion
from monitors.archiving import archive_dataset, archive_reference
from monitors.definitions.models import Reference
from monitors.definitions.schemas import ReferenceOut

router = Router(tags=["registry"])

_CONFIRM = Query(
    "", max_length=200, description="the name of what goes; without it the answer (409) lists what does"
)


class Archiving(Body):
    archived: bool = Field(description="true: it is not listed; false: it is again")


class DatasetOut(ResponseBody, frozen=True):
    """A stored table: a reference or a training snapshot; `name` confirms its deletion."""

    id: int
    name: str
    kind: str
    version: str | None
    rows: int
    columns: list[str]
    start: Time | None
    end: Time | None
    sha256: str
    archived_at: Time | None
    created_at: Time

    @classmethod
    def of(cls, dataset: Dataset) -> "DatasetOut":
        """Write a data set."""
        return cls(
            id=dataset.pk,
            name=deletion.name_of(dataset),
            kind=dataset.kind,
            version=dataset.version.version if dataset.version else None,
            rows=dataset.rows,
            columns=dataset.columns,
            start=dataset.start,
            end=dataset.end,
            sha256=dataset.sha256,
            archived_at=dataset.archived_at,
            created_at=dataset.created_at,
        )


@models.router.delete("/models/{name}", auth=Scoped(SCOPE_OF["model.delete"]), response={204: None})
def delete_model(request: HttpRequest, name: str, confirm: str = _CONFIRM) -> Status[None]:
    """Delete a model with its predictions, versions, rules, incidents and all else of it; `confirm` is its name."""
    deletion.delete_model(model=_model(request, name), confirm=confirm, actor=caller_of(request).actor)
    return Status(204, None)


@registry.router.delete(
    "/models/{name}/versions/{version}", auth=Scoped(SCOPE_OF["version.delete"]), response={204: None}
)
def delete_version(request: HttpRequest, name: str, version: str, confirm: str = _CONFIRM) -> Status[None]:
    """Delete a version that is neither champion nor canary nor shadow, with its predictions and references.

    `confirm` is its name.
    """
    found = get_version(model=_model(request, name), version=version)
    deletion.delete_version(version=found, confirm=confirm, actor=caller_of(request).actor)
    return Status(204, None)


@router.delete(
    "/models/{name}/references/{int:reference_id}",
    auth=Scoped(SCOPE_OF["reference.delete"]),
    response={204: None},
)
def delete_reference(
    request: HttpRequest, name: str, reference_id: int, confirm: str = _CONFIRM
) -> Status[None]:
    """Delete a reference with its file; `confirm` is the name of its version."""
    reference = _reference(request, name, reference_id)
    deletion.delete_reference(reference=reference, confirm=confirm, actor=caller_of(request).actor)
    return Status(204, None)


@router.patch(
    "/models/{name}/references/{int:reference_id}",
    auth=Scoped(SCOPE_OF["reference.archived"]),
    response=ReferenceOut,
)
def change_reference(request: HttpRequest, name: str, reference_id: int, body: Archiving) -> ReferenceOut:
    """Archive a reference, which is not listed or chosen then, or restore it; the current one is refused (409)."""
    reference = _reference(request, name, reference_id)
    archive_reference(reference=reference, is_archived=body.archived, actor=caller_of(request).actor)
    return ReferenceOut.of(reference)


@router.get("/models/{name}/references", auth=Scoped(Scope.READ), response=Page[ReferenceOut])
def list_references(
    request: HttpRequest, name: str, archived: bool = False, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[ReferenceOut]:
    """List a model's references, or those that are archived, newest first."""
    references = _model(request, name).references.filter(archived_at__isnull=not archived)
    return page(
        references.select_related("version__model", "dataset"),
        ReferenceOut.of,
        by=("-pk",),
        cursor=cursor,
        limit=limit,
    )


@router.get("/models/{name}/datasets", auth=Scoped(Scope.READ), response=Page[DatasetOut])
def list_datasets(
    request: HttpRequest, name: str, archived: bool = False, cursor: str = "", limit: int = PAGE_SIZE
) -> Page[DatasetOut]:
    """List a model's stored references and training snapshots, or those that are archived, newest first."""
    datasets = (
        _model(request, name).datasets.filter(archived_at__isnull=not archived).select_related("version")
    )
    return page(datasets, DatasetOut.of, by=("-pk",), cursor=cursor, limit=limit)


@router.delete(
    "/models/{name}/datasets/{int:dataset_id}", auth=Scoped(SCOPE_OF["dataset.delete"]), response={204: None}
)
def delete_dataset(request: HttpRequest, name: str, dataset_id: int, confirm: str = _CONFIRM) -> Status[None]:
    """Delete a data set with the references that were made from it; `confirm` is its `name`."""
    dataset = _dataset(request, name, dataset_id)
    deletion.delete_dataset(dataset=dataset, confirm=confirm, actor=caller_of(request).actor)
    return Status(204, None)


@router.patch(
    "/models/{name}/datasets/{int:dataset_id}", auth=Scoped(SCOPE_OF["dataset.archived"]), response=DatasetOut
)
def change_dataset(request: HttpRequest, name: str, dataset_id: int, body: Archiving) -> DatasetOut:
    """Archive a data set, which is not listed then, or restore it; that of the current reference is refused (409)."""
    dataset = _dataset(request, name, dataset_id)
    archive_dataset(dataset=dataset, is_archived=body.archived, actor=caller_of(request).actor)
    return DatasetOut.of(dataset)


@imports.router.delete(
    "/models/{name}/imports/{int:import_id}",
    auth=Scoped(SCOPE_OF["import.remove"]),
    response={202: ImportOut},
)
def remove_import(
    request: HttpRequest, name: str, import_id: int, confirm: str = _CONFIRM
) -> Status[ImportOut]:
    """Ask a worker to take the predictions of a wrong import out of the log again, with their labels.

    They go out of the summaries and points too. `confirm` is the name of its file. Which rows an import brought is
    known for 30 days.
    """
    job = get_import(model=_model(request, name), import_id=import_id)
    removed = deletion.remove_import(job=job, confirm=confirm, actor=caller_of(request).actor)
    return Status(202, ImportOut.of(removed))


def _reference(request: HttpRequest, name: str, reference_id: int) -> Reference:
    references = _model(request, name).references.select_related("version", "dataset", "model__project")
    reference = references.filter(pk=reference_id).first()
    if reference is None:
        raise not_found("reference")
    return reference


def _dataset(request: HttpRequest, name: str, dataset_id: int) -> Dataset:
    datasets = _model(request, name).datasets.select_related("version", "model__project")
    dataset = datasets.filter(pk=dataset_id).first()
    if dataset is None:
        raise not_found("dataset")
    return dataset


def _model(request: HttpRequest, name: str) -> Model:
    return get_model(project=caller_of(request).project, name=name)
