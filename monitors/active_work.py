"""What is under way in a project and would change it: runs with their rollouts, pulls, imports, releases."""

from collections.abc import Iterator

from driftline.accounts.models import Project
from inference.edge.models import Release, ReleaseState
from monitors.workflows.mlflow.models import MlflowVersion
from monitors.workflows.mlflow.registry_imports.models import ImportedModel, RegistryImport
from monitors.workflows.models import ACTIVE_STATES, Run
from monitors.workflows.pulls.models import Pull

MAX_LISTED = 50  # of a kind


def active_work(project: Project) -> list[str]:
    """List in words what is under way; empty where the project changes only by what people do."""
    return list(_active(project))


def _active(project: Project) -> Iterator[str]:
    runs = Run.objects.filter(model__project=project, state__in=ACTIVE_STATES).select_related("model")
    for run in runs.order_by("pk")[:MAX_LISTED]:
        yield str(run)
    releases = Release.objects.filter(group__project=project, state=ReleaseState.RUNNING)
    for release in releases.select_related("group", "version__model").order_by("pk")[:MAX_LISTED]:
        yield f"the release of {release}"
    pulls = Pull.objects.filter(model__project=project).unfinished()
    for pull in pulls.order_by("pk")[:MAX_LISTED]:
        yield f"the {pull}"
    listings = RegistryImport.objects.filter(project=project).unfinished()
    for listing in listings.order_by("pk")[:MAX_LISTED]:
        yield f"the {listing}"
    imported = ImportedModel.objects.filter(registry_import__project=project).unfinished()
    for one in imported.order_by("pk")[:MAX_LISTED]:
        yield f"the {one}"
    taken = MlflowVersion.objects.filter(model__project=project).unfinished()
    for version in taken.order_by("pk")[:MAX_LISTED]:
        yield str(version)
