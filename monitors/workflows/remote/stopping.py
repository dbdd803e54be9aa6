"""The end of a service's run that nobody waits for any more: it is asked for a few times, and then left to itself."""

import logging
from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from driftline.base.clock import now
from driftline.base.keys.secrets_at_rest import SecretUnreadable
from driftline.base.outbound.secrecy import failing_without_secrets
from driftline.base.outbound.transport import RequestFailed
from monitors.workflows.models import RemoteTraining, Run, Workflow
from monitors.workflows.remote.orchestrators import ORCHESTRATORS
from monitors.workflows.remote.orchestrators.base import ExternalState
from monitors.workflows.remote.settings import pipeline_of

log = logging.getLogger(__name__)

STOP_TRIES = 4
WAIT_BETWEEN_STOPS = timedelta(minutes=2)
"""A start that was under way when the run ended, or a service that is away, has come to its end by the last try."""


def stop_later(run: Run) -> None:
    """Schedule the service to end its run, in the transaction that ends ours, unless its run has ended already.

    A start may be under way, or may have succeeded without an answer, so it does not matter whether one was noted.
    """
    training = RemoteTraining.objects.filter(run=run, artifact_sha256="", failure="", ended_at=None).first()
    if training is not None and ORCHESTRATORS[training.remote["kind"]].can_stop:
        RemoteTraining.objects.filter(pk=training.pk).update(stops_left=STOP_TRIES, next_stop_at=Now())


def stop_pipeline(training_id: int) -> None:
    """Ask once for the end of a service's run, where that is due; safe to call at any time."""
    with transaction.atomic():
        trainings = RemoteTraining.objects.select_for_update(skip_locked=True, of=("self",)).due_to_stop()
        training = trainings.select_related("run__model").filter(pk=training_id).first()
        if training is None:
            return
        training.stops_left -= 1
        training.next_stop_at = now() + WAIT_BETWEEN_STOPS
        training.save(update_fields=["stops_left", "next_stop_at"])
    try:
        has_ended = _stop(training)
    except (RequestFailed, SecretUnreadable) as error:
        log.warning("a pipeline was not stopped", extra={"run": training.run_id, "reason": str(error)[:200]})
        return
    if has_ended:
        RemoteTraining.objects.filter(pk=training.pk).update(stops_left=0)


def _stop(training: RemoteTraining) -> bool:
    """End the service's run if it has not ended; return whether there is nothing more to end.

    A run that ended is left as it is: some services would turn its success into a failure.
    """
    orchestrator = ORCHESTRATORS[training.remote["kind"]]
    pipeline = pipeline_of(training.remote, Workflow.of(training.run.model))
    with failing_without_secrets(pipeline.secret):
        external_id = training.external_id or orchestrator.find(pipeline, training.idempotency_key)
        if not external_id:
            return False
        if orchestrator.state(pipeline, external_id) == ExternalState.RUNNING:
            orchestrator.stop(pipeline, external_id)
    return True
