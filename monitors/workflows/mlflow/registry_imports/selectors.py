"""Reads of registry imports."""

from dataclasses import dataclass

from django.db.models import Count, Prefetch, QuerySet

from driftline.base.accounts.models import Project
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, ImportedVersion, RegistryImport


@dataclass(frozen=True)
class ImportProgress:
    """How many registered models were listed, are to come, came and failed."""

    listed: int
    waiting: int
    done: int
    failed: int

    @property
    def chosen(self) -> int:
        return self.waiting + self.done + self.failed

    @property
    def share(self) -> float:
        """The part of the chosen ones that is over, from 0 to 1."""
        return (self.done + self.failed) / self.chosen if self.chosen else 0.0


def imports_of(project: Project) -> QuerySet[RegistryImport]:
    """List a project's imports, newest first."""
    return RegistryImport.objects.filter(project=project).order_by("-pk")


def progress_of(registry_import: RegistryImport) -> ImportProgress:
    """Count the registered models of an import by what became of them."""
    return progress_of_each([registry_import])[registry_import.pk]


def progress_of_each(imports: list[RegistryImport]) -> dict[int, ImportProgress]:
    """Count the same of several imports, in one query."""
    rows = ImportedModel.objects.filter(registry_import__in=imports)
    counts = {one.pk: dict.fromkeys(ImportedModel.State.values, 0) for one in imports}
    for pk, state, count in rows.values_list("registry_import", "state").annotate(Count("pk")).order_by():
        counts[pk][state] = count
    return {
        pk: ImportProgress(sum(found.values()), found["waiting"], found["done"], found["failed"])
        for pk, found in counts.items()
    }


def models_of(registry_import: RegistryImport) -> QuerySet[ImportedModel]:
    """List the registered models of an import by their names, with the versions that were chosen."""
    versions = ImportedVersion.objects.select_related("version", "imported__registry_import").order_by(
        "position"
    )
    rows = registry_import.registered_models.select_related("model").prefetch_related(
        Prefetch("versions", versions)
    )
    return rows.order_by("registered_model", "pk")
