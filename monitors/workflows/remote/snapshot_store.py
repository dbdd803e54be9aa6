"""The parts of a snapshot in the snapshot store, which a cluster reads with credentials of its own.

They are written before the pipeline starts, and removed once the run has its model or has ended, or its token expires.
"""

import logging
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from threading import Event

import pyarrow as pa
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from pyarrow.fs import FileSystem, LocalFileSystem, copy_files

from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.work.lease import LeaseLost
from driftline.base.work.task_queue import Task, enqueue
from monitors.workflows.context import RunContext
from monitors.workflows.models import ACTIVE_STATES, RemoteTraining, Run
from monitors.workflows.remote.snapshot_file import describe_snapshot, part_path
from monitors.workflows.remote.tokens import new_nonce

log = logging.getLogger(__name__)

WAIT_BETWEEN_REMOVALS = timedelta(minutes=5)
MAX_REASON = 300


class StoreFailed(Exception):
    """The store did not take or remove parts; the message says what it answered and what to look at."""


def new_parts_url(run: Run) -> str:
    """Name the folder of a run's parts, which nobody can guess; empty where the operator has set no store."""
    if not settings.SNAPSHOT_STORE:
        return ""
    return f"{settings.SNAPSHOT_STORE}/{run.model.project.slug}/run-{run.pk}-{new_nonce()[:12]}"


def store_parts(context: RunContext, training: RemoteTraining) -> None:
    """Write a run's parts to the store; the same again replaces them.

    Raises `StoreFailed`, and `LeaseLost` where the run ended meanwhile or is another worker's.
    """
    paths = [part_path(training.run_id, number) for number in range(len(training.snapshot["parts"]))]
    try:
        is_whole = _upload(paths, training.parts_url, context.lost)
    finally:
        _remove_late_parts(training)
    with transaction.atomic():
        awaited = RemoteTraining.objects.filter(pk=training.pk, run__state__in=ACTIVE_STATES)
        if not is_whole or not awaited.filter(remove_parts_at__gt=Now()).update(parts_stored_at=Now()):
            raise LeaseLost
        record_audit(
            project=context.model.project,
            actor=context.actor,
            action="run.parts_stored",
            subject=str(context.run),
            after={"url": training.parts_url, "rows": training.snapshot["rows"], "parts": len(paths)},
        )


def _remove_late_parts(training: RemoteTraining) -> None:
    """Schedule another removal of parts that may have been written after their removal, as the run ended meanwhile."""
    ended = ~Q(run__state__in=ACTIVE_STATES) | ~Q(artifact_sha256="") | Q(parts_url="")
    RemoteTraining.objects.filter(ended, pk=training.pk).update(
        parts_url=training.parts_url, remove_parts_at=Now()
    )


def describe_again(run: Run) -> None:
    """Write and note again what an erasure took rows out of, so that order, files and store agree.

    Raises `StoreFailed`, and then notes nothing, so that the next call does it all.
    """
    training = RemoteTraining.objects.filter(run=run).first()
    if training is None:
        return  # its files are written before it is stored, and are described then
    before, described = training.snapshot.get("parts", []), describe_snapshot(run.pk)
    changed = [
        number for number, part in enumerate(described["parts"]) if before[number : number + 1] != [part]
    ]
    if training.parts_url:
        try:
            _upload([part_path(run.pk, number) for number in changed], training.parts_url, Event())
        finally:
            _remove_late_parts(training)
    training.snapshot = described
    training.save(update_fields=["snapshot"])


def remove_later(run: Run) -> None:
    """Schedule the removal of the parts of a run, in the transaction after which nobody needs them."""
    for training in RemoteTraining.objects.filter(run=run).exclude(parts_url=""):
        RemoteTraining.objects.filter(pk=training.pk).update(remove_parts_at=Now())
        enqueue(Task.REMOVE_PARTS, training_id=training.pk)


def remove_due_parts(training_id: int) -> None:
    """Remove parts that are due for it, or try again some minutes later; safe to call at any time."""
    with transaction.atomic():
        due = RemoteTraining.objects.select_for_update(skip_locked=True).with_parts_to_remove()
        training = due.filter(pk=training_id).first()
        if training is None:
            return
        training.remove_parts_at = now() + WAIT_BETWEEN_REMOVALS
        training.save(update_fields=["remove_parts_at"])
    try:
        _remove(training.parts_url)
    except StoreFailed as error:
        log.warning("parts were not removed", extra={"run": training.run_id, "reason": str(error)})
        return
    # Parts that came meanwhile set another moment, and are removed in their turn.
    removed = RemoteTraining.objects.filter(pk=training.pk, remove_parts_at=training.remove_parts_at)
    removed.update(parts_url="", remove_parts_at=None)


def parts_of(runs: QuerySet[Run]) -> list[str]:
    """List the folders in the store that some runs still have."""
    return [
        *RemoteTraining.objects.filter(run__in=runs).exclude(parts_url="").values_list("parts_url", flat=True)
    ]


def remove_folders(urls: Iterable[str]) -> None:
    """Remove the parts of runs that were deleted; what the store does not remove is logged."""
    for url in urls:
        try:
            _remove(url)
        except StoreFailed as error:
            log.warning("parts of a deleted run were not removed", extra={"url": url, "reason": str(error)})


def _upload(paths: Iterable[Path], url: str, stop: Event) -> bool:
    """Copy files into a folder of the store; return False where `stop` was set before all were there."""
    try:
        store, folder = FileSystem.from_uri(url)
        if isinstance(store, LocalFileSystem):
            _require_store(folder)
            store.create_dir(folder)
        for path in paths:
            if stop.is_set():
                return False
            copy_files(
                str(path),
                f"{folder}/{path.name}",
                source_filesystem=LocalFileSystem(),
                destination_filesystem=store,
            )
    except (OSError, pa.ArrowException) as error:
        raise _failed("take the snapshot", error) from error
    return True


def _remove(url: str) -> None:
    try:
        store, folder = FileSystem.from_uri(url)
        if isinstance(store, LocalFileSystem):
            _require_store(folder)
        store.delete_dir(folder)
    except FileNotFoundError:
        return
    except (OSError, pa.ArrowException) as error:
        raise _failed(f"remove {url}", error) from error


def _require_store(folder: str) -> None:
    """Raise OSError where the shared folder itself is not there, as one that is not mounted."""
    store = Path(folder).parents[1]  # above the folder of the project
    if not store.is_dir():
        raise OSError(f"{store} is not there; is it mounted?")


def _failed(what: str, error: Exception) -> StoreFailed:
    return StoreFailed(
        f"The snapshot store did not {what}; look at DRIFTLINE_SNAPSHOT_STORE and the worker's AWS variables. "
        f"It said: {str(error)[:MAX_REASON]}"
    )
