"""What imports of whole registries of MLflow add to the product."""

from collections.abc import Iterator

from driftline.base.accounts.models import Project
from driftline.base.feature import ProductFeature
from driftline.base.work.long_work import leased_kind
from monitors.workflows.mlflow.registry_imports.api import router
from monitors.workflows.mlflow.registry_imports.importing import import_model
from monitors.workflows.mlflow.registry_imports.listing import list_registry
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, RegistryImport


def _active_work(project: Project) -> Iterator[str]:
    for listing in RegistryImport.objects.filter(project=project).unfinished().order_by("pk"):
        yield f"the {listing}"
    for one in ImportedModel.objects.filter(registry_import__project=project).unfinished().order_by("pk"):
        yield f"the {one}"


FEATURE = ProductFeature(
    "registry_imports",
    routers=[router],
    pages="monitors.workflows.mlflow.registry_imports.pages.urls",
    objects={"mlflow_import": RegistryImport},
    admin="monitors.workflows.mlflow.registry_imports.pages.admin",
    long_work=[
        leased_kind(RegistryImport, list_registry, project="project"),
        leased_kind(ImportedModel, import_model, project="registry_import__project"),
    ],
    active_work=_active_work,
)
