"""What a pipeline sends back: progress, a failure, or the ONNX, which is taken once and while the run waits for it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from io import BufferedReader
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import F

from driftline.base.accounts.quotas import refuse_full
from driftline.base.accounts.services import record_audit
from driftline.base.clock import now
from driftline.base.durable_files import sync_to_disk
from driftline.base.errors import Problem
from driftline.base.http.uploads import Readable
from driftline.base.outbound.secrecy import without_secrets
from driftline.base.periods import rfc3339
from driftline.base.work.task_queue import Task, enqueue
from inference.registry.contract.differences import contract_difference
from inference.registry.intake.metadata import declare
from inference.registry.selectors import signature_of
from inference.registry.versions import digest_of_upload, examined_upload
from monitors.workflows.context import ARTIFACT_FILE, run_folder
from monitors.workflows.models import ACTIVE_STATES, RemoteTraining, Run, RunState, Step
from monitors.workflows.remote.order import order_of
from monitors.workflows.remote.schemas import TrainingOrderOut
from monitors.workflows.remote.snapshot_file import part_path, remove_snapshot, snapshot_path
from monitors.workflows.remote.snapshot_store import remove_later
from monitors.workflows.remote.training import PIPELINE
from monitors.workflows.trainers.catalogue import TrainerNotAllowed, require_allowed_remote

MAX_ARTIFACTS = 20
"""Files that the intake opens for one run."""
MAX_MESSAGE = 200


def record_progress(*, run: Run, progress: float | None, message: str | None) -> RemoteTraining:
    """Note how far a pipeline is, and that it is alive; raises `Problem` where nobody waits for it any more."""
    with transaction.atomic():
        training = _awaited(run)
        if progress is not None:
            training.progress = progress
        if message is not None:
            training.message = without_secrets(message)
        training.heard_at = now()
        training.save(update_fields=["progress", "message", "heard_at"])
    return training


def record_failure(*, run: Run, reason: str, actor: str) -> RemoteTraining:
    """End the wait for a pipeline that gives up; the run then fails with its reason. The same again changes nothing."""
    reason = without_secrets(reason)
    with transaction.atomic():
        training = _awaited(run, is_repeat=lambda known: known.failure == reason)
        if training.failure:
            return training
        training.failure, training.heard_at = reason, now()
        training.save(update_fields=["failure", "heard_at"])
        _wake(run, actor=actor, action="run.pipeline_failed", after={"reason": reason})
    return training


def receive_artifact(
    *, run: Run, stream: Readable, metrics: Mapping[str, float], lineage_uri: str, actor: str
) -> tuple[RemoteTraining, bool]:
    """Take the ONNX that a pipeline trained, after the intake's child has opened and run it.

    Returns the training and whether it is new: the same bytes again change nothing, and nothing is opened any more
    once a run has its model. Raises `Problem`: the refusals of
    the intake (4xx), `incompatible_signature` (422) for one that the champion's callers could not call, and for one
    that comes late `artifact_taken`, `training_failed`, `deadline_passed`, `run_finished` or `no_pipeline` (409), and
    `too_many_artifacts` (409) after `MAX_ARTIFACTS` that were refused, and `quota_reached` (429) for a full project.
    """
    with _refusal_noted(run), transaction.atomic():
        training = _awaited(run, is_repeat=lambda known: bool(known.artifact_sha256))
        if not training.artifact_sha256:
            refuse_full(run.model.project)
            _count_try(training)
    if training.artifact_sha256:
        return _repeated(training, digest_of_upload(stream)), False
    signature = signature_of(run.champion)
    upload = examined_upload(model=run.model, stream=stream, metadata=declare(signature))
    with _refusal_noted(run), upload as (arrived, report):
        _refuse_other_signature(run, msgspec.to_builtins(report.signature))
        with transaction.atomic():
            training = _awaited(run, is_repeat=lambda known: known.artifact_sha256 == arrived.sha256)
            if training.artifact_sha256:
                return training, False
            _keep(arrived.location, run)
            training.artifact_sha256, training.artifact_bytes = arrived.sha256, arrived.size
            training.artifact_at = training.heard_at = now()
            training.metrics, training.lineage_uri = dict(metrics), lineage_uri
            training.save()
            after = {"sha256": arrived.sha256, "bytes": arrived.size}
            _wake(run, actor=actor, action="run.artifact", after=after)
            remove_later(run)
            transaction.on_commit(lambda: remove_snapshot(run.pk))
    return training, True


def read_order(*, run: Run) -> TrainingOrderOut:
    """Return the order of a run; raises `Problem` where nobody waits for its pipeline any more."""
    with transaction.atomic():
        training = _awaited(run)
    signature = signature_of(run.champion)
    assert signature is not None  # the run has come to its pipeline
    return order_of(run, training, signature)


def open_snapshot(*, run: Run, part: int | None, actor: str) -> BufferedReader:
    """Open the rows that a pipeline learns from, or one part of them; the first download is audited.

    Raises `Problem` where nobody waits for it any more, the operator no longer lets rows out (403), or there is no such
    part (404).
    """
    try:
        require_allowed_remote(settings.TRAINERS)
    except TrainerNotAllowed as error:
        raise Problem(403, error.code, str(error)) from error
    with transaction.atomic():
        training = _awaited(run)
        parts = len(training.snapshot.get("parts", []))
        if part is not None and not 0 <= part < parts:
            raise Problem(404, "no_such_part", f"The snapshot has {parts} parts; the first one is part 0.")
        try:
            path = snapshot_path(run.pk) if part is None else part_path(run.pk, part)
            snapshot = path.open("rb")
        except FileNotFoundError as error:
            raise Problem(
                410, "snapshot_lost", f"The snapshot of run {run.pk} is not on this machine; start a new run."
            ) from error
        if training.downloaded_at is None:
            training.downloaded_at = now()
            training.save(update_fields=["downloaded_at"])
            _record(run, actor, "run.snapshot", {"rows": training.snapshot["rows"]})
    return snapshot


def _awaited(
    run: Run, *, is_repeat: Callable[[RemoteTraining], bool] = lambda known: False
) -> RemoteTraining:
    """Lock a run's training, for which its pipeline's answer still counts; raises `Problem` that says what happened."""
    locked = Run.objects.select_for_update().get(pk=run.pk)
    training = RemoteTraining.objects.select_for_update().filter(run=locked).first()
    if training is None:
        raise Problem(
            409, "no_pipeline", f"Run {run.pk} is {locked.state} and has not asked a pipeline for a model."
        )
    if locked.state not in ACTIVE_STATES:
        raise Problem(409, "run_finished", f"Run {run.pk} is {locked.state} already: {_ending(locked)}")
    if now() >= training.deadline:
        raise Problem(
            409,
            "deadline_passed",
            f"Run {run.pk} waited for its pipeline until {rfc3339(training.deadline)}.",
        )
    if is_repeat(training):
        return training
    if training.artifact_sha256:
        raise _taken(training)
    if training.failure:
        raise Problem(409, "training_failed", f"The pipeline of run {run.pk} gave up: {training.failure}")
    return training


def _taken(training: RemoteTraining) -> Problem:
    return Problem(
        409,
        "artifact_taken",
        f"Run {training.run_id} has its model already, with the SHA-256 {training.artifact_sha256}; a run takes one.",
    )


def _repeated(training: RemoteTraining, sha256: str) -> RemoteTraining:
    """Return the training that has these very bytes; raises `Problem` for others."""
    if sha256 != training.artifact_sha256:
        raise _taken(training)
    return training


def _count_try(training: RemoteTraining) -> None:
    """Count a file that the intake's child opens next, which costs seconds of the server; raises `Problem`."""
    if training.artifact_tries >= MAX_ARTIFACTS:
        raise Problem(
            409,
            "too_many_artifacts",
            f"{MAX_ARTIFACTS} files were refused for run {training.run_id}; mend the export and start a new run.",
        )
    training.artifact_tries += 1
    training.save(update_fields=["artifact_tries"])


@contextmanager
def _refusal_noted(run: Run) -> Iterator[None]:
    """Show people why a file was refused: the pipeline may be the only one who reads the answer."""
    try:
        yield
    except Problem as refusal:
        # A conflict is about the run, and what is ours, such as a full disk, is not about the file either.
        if refusal.status < 500 and refusal.status != HTTPStatus.CONFLICT:
            words = without_secrets(f"a model was refused: {refusal.detail}")[:MAX_MESSAGE]
            RemoteTraining.objects.filter(run=run).update(message=words, heard_at=now())
        raise


def _ending(run: Run) -> str:
    """Return why a run ended, as far as one of its steps knows."""
    failed = run.steps.filter(state=Step.State.FAILED).order_by("position").first()
    reason = f"{failed.name}: {failed.error} " if failed else ""
    return f"{reason}It ended at {rfc3339(run.finished_at)}." if run.finished_at else reason


def _refuse_other_signature(run: Run, found: Mapping[str, Any]) -> None:
    difference, values = contract_difference(run.champion.signature or {}, found)
    if difference:
        raise Problem(
            422,
            "incompatible_signature",
            f"The ONNX has {difference} than the champion, version {run.champion.version}: {values}. Export it with "
            "those of job.",
        )


def _keep(location: Path, run: Run) -> None:
    """Move a received file into the run's folder; its bytes are on the disk already."""
    folder = run_folder(run.pk)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    location.replace(folder / ARTIFACT_FILE)
    sync_to_disk(folder)


def _wake(run: Run, *, actor: str, action: str, after: Mapping[str, Any]) -> None:
    """Make a run go on; a worker that is at its step looks again."""
    Run.objects.filter(pk=run.pk).update(generation=F("generation") + 1)
    Run.objects.filter(pk=run.pk, state=RunState.WAITING, needs=PIPELINE).update(
        state=RunState.RUNNING, needs="", waiting_for=""
    )
    _record(run, actor, action, after)
    enqueue(Task.ADVANCE_RUN, run_id=run.pk)


def _record(run: Run, actor: str, action: str, after: Mapping[str, Any]) -> None:
    record_audit(
        project=run.model.project,
        actor=actor,
        action=action,
        subject=f"run {run.pk} of {run.model}",
        after=dict(after),
    )
