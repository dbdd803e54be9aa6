"""What the API answers about registry imports."""

from typing import Annotated, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, ImportedVersion, RegistryImport
from monitors.workflows.mlflow.registry_imports.selectors import ImportProgress


class RegistryImportOut(ResponseBody, frozen=True):
    """An import without its secret, and how many registered models are at what; `error` says why it was not listed."""

    id: int
    url: str
    search: str | None
    has_secret: bool
    state: Annotated[str, one_of(RegistryImport.State)]
    error: str | None
    versions: Annotated[str, one_of(RegistryImport.Which)]
    follow: bool
    task: str | None
    listed: int
    waiting: int
    done: int
    failed: int
    created_by: str
    created_at: Time

    @classmethod
    def of(cls, found: RegistryImport, progress: ImportProgress) -> Self:
        return cls(
            id=found.pk,
            url=found.url,
            search=found.search or None,
            has_secret=bool(found.secret),
            state=found.state,
            error=found.error or None,
            versions=found.which,
            follow=found.follows,
            task=found.task or None,
            listed=progress.listed,
            waiting=progress.waiting,
            done=progress.done,
            failed=progress.failed,
            created_by=found.created_by,
            created_at=found.created_at,
        )


class ImportedVersionOut(ResponseBody, frozen=True):
    """A version of MLflow and what became of it; `version` is that of Driftline."""

    number: str
    aliases: str | None
    outcome: Annotated[str, one_of(ImportedVersion.Outcome)]
    reason: str | None
    version: str | None
    url: str


class ImportedModelOut(ResponseBody, frozen=True):
    """A registered model; `name` is what it is called here, null where a name has to be chosen."""

    registered_model: str
    name: str | None
    naming_fault: str | None
    state: Annotated[str, one_of(ImportedModel.State)]
    error: str | None
    note: str | None
    model: str | None
    versions: list[ImportedVersionOut]

    @classmethod
    def of(cls, row: ImportedModel) -> Self:
        return cls(
            registered_model=row.registered_model,
            name=row.name or None,
            naming_fault=row.naming_fault or None,
            state=row.state,
            error=row.error or None,
            note=row.note or None,
            model=row.model.name if row.model else None,
            versions=[
                ImportedVersionOut(
                    number=one.number,
                    aliases=one.aliases or None,
                    outcome=one.outcome,
                    reason=one.reason or None,
                    version=one.version.version if one.version else None,
                    url=one.page,
                )
                for one in row.versions.all()
            ],
        )


class ImportStarted(ResponseBody, frozen=True):
    """How many registered models are to be imported now."""

    started: int
