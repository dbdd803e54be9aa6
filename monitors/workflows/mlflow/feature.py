"""What connections to MLflow add to the product."""

from collections.abc import Iterator

from driftline.base.accounts.models import Project
from driftline.base.feature import DueWork, ProductFeature
from driftline.base.work.long_work import leased_kind
from driftline.base.work.task_queue import Task
from monitors.workflows.mlflow import receivers  # noqa: F401  they connect MLflow to deployments and runs
from monitors.workflows.mlflow.api import router
from monitors.workflows.mlflow.models import MlflowConnection, MlflowReport, MlflowVersion
from monitors.workflows.mlflow.reporting import send_report
from monitors.workflows.mlflow.taking import take_version


def _active_work(project: Project) -> Iterator[str]:
    for version in MlflowVersion.objects.filter(model__project=project).unfinished().order_by("pk"):
        yield str(version)


FEATURE = ProductFeature(
    "mlflow",
    routers=[router],
    pages="monitors.workflows.mlflow.pages.urls",
    admin="monitors.workflows.mlflow.pages.admin",
    long_work=[
        leased_kind(MlflowVersion, take_version),
        leased_kind(MlflowReport, send_report, project="taken__model__project"),
    ],
    due=[DueWork(Task.POLL_MLFLOW, "connection_id", lambda: MlflowConnection.objects.due())],
    active_work=_active_work,
)
