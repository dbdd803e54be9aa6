"""What the API answers to a pipeline."""

from typing import Annotated, Any, Self

from driftline.base.http.responses import ResponseBody, Time, one_of
from inference.signatures import Feature
from monitors.workflows.models import RemoteTraining, RunState
from monitors.workflows.trainers.job import Layout


class RemoteTrainingOut(ResponseBody, frozen=True):
    """A run's training in a pipeline: what was heard of it, and until when the run waits for its model."""

    run: int
    state: Annotated[str, one_of(RunState)]
    deadline: Time
    progress: float | None
    message: str | None
    heard_at: Time | None
    failure: str | None
    artifact_sha256: str | None
    artifact_bytes: int | None

    @classmethod
    def of(cls, training: RemoteTraining) -> Self:
        return cls(
            run=training.run_id,
            state=training.run.state,
            deadline=training.deadline,
            progress=training.progress,
            message=training.message or None,
            heard_at=training.heard_at,
            failure=training.failure or None,
            artifact_sha256=training.artifact_sha256 or None,
            artifact_bytes=training.artifact_bytes,
        )


class RunTriggerOut(ResponseBody, frozen=True):
    """What started a run: a text, the rule that fired if one did, and the page of the run."""

    text: str
    rule: str | None
    url: str


class SnapshotPartOut(ResponseBody, frozen=True):
    """Some of the rows, as a file of its own: in the snapshot store, or here where there is none."""

    url: str
    sha256: str
    rows: int


class SnapshotFileOut(ResponseBody, frozen=True):
    """The rows to learn from, and the event time up to which rows were taken."""

    url: str
    sha256: str
    rows: int
    columns: list[str]
    parts: list[SnapshotPartOut]
    until: Time


class RequestedModelOut(ResponseBody, frozen=True):
    """What a challenger has to be; `classes` are in the order of the probability columns."""

    features: list[Feature]
    classes: list[str]
    positive_class: str | None
    missing: dict[str, str]
    layout: Layout | None
    parameters: dict[str, Any]
    seed: int


class CallbackOut(ResponseBody, frozen=True):
    """Where a pipeline sends what, with which token, and until when."""

    artifact: str
    progress: str
    failed: str
    token: str
    deadline: Time


class TrainingOrderOut(ResponseBody, frozen=True):
    """The order that a pipeline gets, which can be read again at `url`."""

    url: str
    run: int
    model: str
    task: str
    trigger: RunTriggerOut
    snapshot: SnapshotFileOut
    job: RequestedModelOut
    callback: CallbackOut
