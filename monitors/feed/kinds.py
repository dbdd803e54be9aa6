"""Every kind of event, and those of which channels take messages."""

INCIDENTS = "incidents"
"""What a channel takes that takes the messages of incidents, which `alerts` makes of the incidents themselves."""

RUN_STARTED = "run.started"
RUN_WAITING = "run.waiting_for_approval"
RUN_PROMOTED = "run.promoted"
RUN_REJECTED = "run.rejected"
RUN_FAILED = "run.failed"
RUN_CANCELLED = "run.cancelled"
RUN_ROLLED_BACK = "run.rolled_back"
DEPLOYMENT_CHANGED = "deployment.changed"
VERSION_CREATED = "version.created"
REFERENCE_CHANGED = "reference.changed"
CHANNEL_DISABLED = "channel.disabled"
MLFLOW_FAILED = "mlflow.failed"
RELEASE_ABORTED = "release.aborted"

KINDS: dict[str, str] = {
    RUN_STARTED: "A retrain run started",
    RUN_WAITING: "A run waits for approval",
    RUN_PROMOTED: "A run promoted its challenger",
    RUN_REJECTED: "A run's challenger was rejected",
    RUN_FAILED: "A run failed",
    RUN_CANCELLED: "A run was cancelled",
    RUN_ROLLED_BACK: "What a run promoted was rolled back",
    DEPLOYMENT_CHANGED: "A deployment changed",
    VERSION_CREATED: "A version was created",
    REFERENCE_CHANGED: "Windows are compared with something else",
    CHANNEL_DISABLED: "A channel was disabled",
    MLFLOW_FAILED: "A version of MLflow was not taken, or not reported on",
    RELEASE_ABORTED: "A release to devices was aborted",
}
"""The kinds that channels may take, each with what it says."""

URGENT = (RUN_WAITING, RUN_FAILED, RUN_ROLLED_BACK, CHANNEL_DISABLED, MLFLOW_FAILED, RELEASE_ABORTED)
"""Events that a person should look at."""

DEFAULT_OF_CHANNELS = (
    INCIDENTS, RUN_WAITING, RUN_PROMOTED, RUN_REJECTED, RUN_FAILED, RUN_ROLLED_BACK, CHANNEL_DISABLED, MLFLOW_FAILED,
    RELEASE_ABORTED,
)  # fmt: skip


def default_of_channels() -> list[str]:
    """Return what a channel takes unless somebody chose."""
    return list(DEFAULT_OF_CHANNELS)
