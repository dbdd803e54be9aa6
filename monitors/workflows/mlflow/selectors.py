"""Reads of what came from MLflow."""

from django.db.models import QuerySet

from inference.registry.models import Model
from monitors.workflows.mlflow.models import MlflowVersion


def versions_from_mlflow(model: Model) -> QuerySet[MlflowVersion]:
    """List the versions that a model got from MLflow, newest first, ready to be described."""
    versions = MlflowVersion.objects.filter(model=model)
    return versions.select_related("version", "run", "report").order_by("-pk")
