"""An event, of which people get messages, for a version that was not taken and a report that was not sent."""

from driftline.base.periods import rfc3339
from monitors.feed.kinds import MLFLOW_FAILED
from monitors.feed.services import record_event
from monitors.workflows.mlflow.models import MlflowReport, MlflowVersion


def record_failure(row: MlflowReport | MlflowVersion) -> None:
    """Record that work with MLflow failed for good, in the transaction that says so."""
    if isinstance(row, MlflowReport):
        taken, what = row.taken, "MLflow does not know what became of"
    else:
        taken, what = row, "Driftline could not take"
    model = taken.model
    record_event(
        project=model.project,
        model=model,
        kind=MLFLOW_FAILED,
        subject=f"mlflow-{taken.pk}",
        text=f"{model.name}: {what} {taken}: {row.error}",
        path=f"/models/{model.name}/mlflow",
        facts=[("MLflow", taken.page), ("Reason", row.error)],
        data={
            "mlflow": {
                "url": taken.url,
                "registered_model": taken.registered_model,
                "number": taken.number,
                "reason": row.error,
                "noticed_at": rfc3339(taken.created_at),
            }
        },
    )
