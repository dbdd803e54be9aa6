"""Asks MLflow where the followed alias points, and notes a version that was not taken yet."""

from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from driftline.base.clock import now
from driftline.base.keys.secrets_at_rest import SecretUnreadable
from driftline.base.outbound.transport import RequestFailed
from driftline.base.work.leased_work import shortened
from driftline.base.work.task_queue import Task, enqueue
from monitors.workflows.mlflow.client import RegisteredModel
from monitors.workflows.mlflow.models import MlflowConnection, MlflowVersion

POLL_EVERY = timedelta(minutes=1)
ASK_AGAIN = timedelta(minutes=5)
"""After a question that failed."""


def ask_now(connection: MlflowConnection) -> None:
    """Schedule a question to MLflow at once, in the caller's transaction."""
    MlflowConnection.objects.filter(pk=connection.pk).update(next_poll_at=Now())
    enqueue(Task.POLL_MLFLOW, connection_id=connection.pk)


def poll(connection_id: int) -> None:
    """Ask once where the alias points, where that is due; safe to call at any time.

    A question that fails is asked again after five minutes, also for a connection that webhooks alone wake.
    """
    with transaction.atomic():
        due = MlflowConnection.objects.select_for_update(skip_locked=True, of=("self",)).due()
        connection = due.filter(pk=connection_id).first()
        if connection is None:
            return
        connection.next_poll_at = now() + POLL_EVERY
        connection.save(update_fields=["next_poll_at"])
    # What asks anew meanwhile, or changes the connection, has set another moment: this answer is old then.
    asked = MlflowConnection.objects.filter(pk=connection_id, next_poll_at=connection.next_poll_at)
    try:
        aliases = RegisteredModel.of(connection).aliases()
    except (RequestFailed, SecretUnreadable) as error:
        # One that is away for long takes little of the workers' time.
        asked.update(poll_error=shortened(str(error)), next_poll_at=now() + ASK_AGAIN)
        return
    number = aliases.get(connection.alias, "")
    with transaction.atomic():
        found = asked.select_for_update(of=("self",)).first()
        if found is None:
            return
        found.polled_at, found.poll_error, found.alias_version = now(), "", number
        if not found.polls:
            found.next_poll_at = None
        found.save(update_fields=["polled_at", "poll_error", "alias_version", "next_poll_at"])
        if number:
            _note(found, number)


def _note(connection: MlflowConnection, number: str) -> None:
    """Schedule a version to be taken, once; one that the alias left before its run could start is taken up again."""
    taken, is_new = MlflowVersion.objects.get_or_create(
        model=connection.model,
        url=connection.url,
        registered_model=connection.registered_model,
        number=number,
    )
    if not is_new and taken.state == MlflowVersion.State.SUPERSEDED:
        MlflowVersion.objects.filter(pk=taken.pk).begin_again(failures=0, created_at=Now())
        is_new = True
    if is_new:
        enqueue(Task.LONG_WORK)
