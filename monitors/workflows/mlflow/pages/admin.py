"""The rows of MLflow in the admin."""

from driftline.web.admin.reading import register
from monitors.workflows.mlflow.models import MlflowReport, MlflowVersion

register(
    MlflowVersion, ("model", "registered_model", "number", "state", "version", "run"), ("state", "model")
)
register(MlflowReport, ("taken", "state", "error", "finished_at"), ("state",))
