"""The step `train` of a run with a pipeline as its trainer: seal the snapshot, start, then look now and again."""

from datetime import datetime, timedelta

import msgspec
from django.conf import settings

from driftline.base.accounts.models import digest_of
from driftline.base.clock import now
from driftline.base.keys.secrets_at_rest import SecretUnreadable
from driftline.base.outbound.secrecy import failing_without_secrets, without_secrets
from driftline.base.outbound.transport import RequestFailed
from driftline.base.periods import rfc3339
from monitors.workflows.context import Evidence, RunContext, StepFailed, StepOutcome, done, waiting
from monitors.workflows.models import RemoteTraining, Run
from monitors.workflows.remote.orchestrators import ORCHESTRATORS
from monitors.workflows.remote.orchestrators.base import ExternalState
from monitors.workflows.remote.order import order_of
from monitors.workflows.remote.settings import pipeline_of
from monitors.workflows.remote.snapshot_file import snapshot_path, write_snapshot
from monitors.workflows.remote.snapshot_store import StoreFailed, new_parts_url, store_parts
from monitors.workflows.remote.tokens import make_token, new_nonce, token_of
from monitors.workflows.trainers.catalogue import REMOTE, require_allowed_remote

PIPELINE = "pipeline"
"""What a run waits for, as `Run.needs` has it."""
WAITS_BETWEEN_STARTS = [
    timedelta(seconds=10),
    timedelta(seconds=30),
    timedelta(minutes=1),
    timedelta(minutes=2),
]
ASK_EVERY = timedelta(seconds=30)
SEND_WITHIN = {
    ExternalState.SUCCEEDED: timedelta(minutes=10),
    ExternalState.FAILED: timedelta(minutes=1),
}
"""After the service says that its run ended; what it sent last may still be on its way."""
ENDINGS = {
    ExternalState.SUCCEEDED: (
        "succeeded, and it sent no model; have its last task send the ONNX to callback.artifact."
    ),
    ExternalState.FAILED: "failed; look there for why.",
}


def train_remotely(context: RunContext) -> StepOutcome:
    """Go on with a training elsewhere as far as that is possible now; no worker waits for it in between."""
    require_allowed_remote(settings.TRAINERS)
    training, at = _prepared(context), now()
    if training.artifact_sha256:
        return done(_evidence(training))
    if training.failure:
        raise StepFailed(f"The pipeline gave up: {training.failure}")
    if at >= training.deadline:
        raise StepFailed(
            f"The pipeline sent no model by {rfc3339(training.deadline)}, its deadline; allow it more hours "
            f"(training_hours), or look there for what keeps it.{_last_heard(training)}"
        )
    if training.started_at is None:
        return _start(context, training, at)
    return _look(context, training, at)


def _prepared(context: RunContext) -> RemoteTraining:
    """Return the run's training, which is stored once, with its snapshot in the run's folder."""
    training = RemoteTraining.objects.filter(run=context.run).first()
    if training is not None and (training.artifact_sha256 or snapshot_path(context.run.pk).exists()):
        return training
    if training is not None:
        training.snapshot, training.parts_stored_at = write_snapshot(context), None
        training.save(update_fields=["snapshot", "parts_stored_at"])
        return training
    if not context.workflow.remote:
        raise StepFailed(
            "The workflow names no pipeline; say which one trains the model (remote), or use a trainer."
        )
    nonce = new_nonce()
    deadline = now() + timedelta(hours=context.workflow.training_hours)
    training, _ = RemoteTraining.objects.get_or_create(
        run=context.run,
        defaults={
            "remote": context.workflow.remote,
            "token_nonce": nonce,
            "token_digest": digest_of(make_token(context.run.pk, nonce)),
            "parameters": context.workflow.parameters,
            "snapshot": write_snapshot(context),
            "parts_url": new_parts_url(context.run),
            "remove_parts_at": deadline,
            "deadline": deadline,
        },
    )
    return training


def _start(context: RunContext, training: RemoteTraining, at: datetime) -> StepOutcome:
    """Start the pipeline, or wait for the next try; the last one that fails ends the run."""
    if training.next_start_at is not None and at < training.next_start_at:
        return waiting(context.run.waiting_for, needs=PIPELINE)
    if token_of(training) is None:
        raise StepFailed(
            "The server's secret key is another since this run made its token, which would open nothing; start a new "
            "run."
        )
    order = msgspec.to_builtins(order_of(context.run, training, context.signature))
    try:
        if training.parts_url and training.parts_stored_at is None:
            store_parts(context, training)
        pipeline = pipeline_of(training.remote, context.workflow)
        with failing_without_secrets(pipeline.secret):
            external_id = ORCHESTRATORS[training.remote["kind"]].start(
                pipeline, training.idempotency_key, order
            )
    except (RequestFailed, SecretUnreadable, StoreFailed) as error:
        return _after_failed_start(training, str(error), at)
    if external_id != training.idempotency_key:  # ours, whatever the secret is
        external_id = without_secrets(external_id, pipeline.secret)
    training.started_at, training.external_id = at, external_id

    def note(run: Run) -> Evidence:
        RemoteTraining.objects.filter(pk=training.pk).update(started_at=at, external_id=external_id)
        return {}

    return waiting(_progress(training), needs=PIPELINE, evidence=_evidence(training), effect=note)


def _after_failed_start(training: RemoteTraining, reason: str, at: datetime) -> StepOutcome:
    failed = training.failed_starts + 1
    if failed > len(WAITS_BETWEEN_STARTS):
        raise StepFailed(f"The pipeline could not be started in {failed} tries: {reason}")
    next_start = at + WAITS_BETWEEN_STARTS[failed - 1]

    def note(run: Run) -> Evidence:
        RemoteTraining.objects.filter(pk=training.pk).update(failed_starts=failed, next_start_at=next_start)
        return {"failed_starts": failed, "last_failure": reason}

    words = f"a pipeline that could not be started yet; it is tried again at {next_start:%H:%M:%S} UTC"
    return waiting(words, needs=PIPELINE, evidence=_evidence(training), effect=note)


def _look(context: RunContext, training: RemoteTraining, at: datetime) -> StepOutcome:
    """Ask the service how its run is, where it can say and was not asked a moment ago."""
    orchestrator = ORCHESTRATORS[training.remote["kind"]]
    is_due = training.asked_at is None or at >= training.asked_at + ASK_EVERY
    if orchestrator.can_poll and is_due:
        try:
            pipeline = pipeline_of(training.remote, context.workflow)
            with failing_without_secrets(pipeline.secret):
                found = orchestrator.state(pipeline, training.external_id)
        except (RequestFailed, SecretUnreadable) as error:
            return _wait(training, {"service_says": f"nothing: {error}"[:400]}, at)
        training.ended_at = None if found == ExternalState.RUNNING else training.ended_at or at
        if training.ended_at and at >= training.ended_at + SEND_WITHIN[found]:
            raise StepFailed(
                f"{orchestrator.title} says that {training.external_id} {ENDINGS[found]}{_last_heard(training)}"
            )
        return _wait(training, {"service_says": str(found)}, at)
    return waiting(_progress(training), needs=PIPELINE, evidence=_evidence(training))


def _wait(training: RemoteTraining, found: Evidence, at: datetime) -> StepOutcome:
    def note(run: Run) -> Evidence:
        RemoteTraining.objects.filter(pk=training.pk).update(asked_at=at, ended_at=training.ended_at)
        return found

    return waiting(_progress(training), needs=PIPELINE, evidence=_evidence(training), effect=note)


def _progress(training: RemoteTraining) -> str:
    """Return what the run waits for, in at most as many characters as that may have."""
    share = "" if training.progress is None else f" ({training.progress:.0%})"
    return f"the pipeline{share}{f': {training.message}' if training.message else ''}"[:200]


def _last_heard(training: RemoteTraining) -> str:
    """Return what was last heard of a training, as a sentence of its own; empty where nothing was."""
    return f" The last that was heard: {training.message}" if training.message else ""


def _evidence(training: RemoteTraining) -> Evidence:
    """Return what is known of a training, without what is not known yet."""
    found = {
        "trainer": f"{REMOTE}: {ORCHESTRATORS[training.remote['kind']].title}",
        "key": training.idempotency_key,
        "rows": training.snapshot["rows"],
        "snapshot_sha256": training.snapshot["sha256"],
        "parts": len(training.snapshot.get("parts", [])),
        "deadline": training.deadline,
        "started_at": training.started_at,
        "external_id": training.external_id,
        "heard_at": training.heard_at,
        "progress": training.progress,
        "artifact_sha256": training.artifact_sha256,
        "artifact_bytes": training.artifact_bytes,
        "metrics": training.metrics,
        "lineage_uri": training.lineage_uri,
    }
    return {name: value for name, value in found.items() if value not in (None, "", {})}
