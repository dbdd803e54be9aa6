"""Pulls a file: it goes through the intake, becomes a version and, where that was asked for, is compared in a run."""

import time
from typing import IO

import msgspec
from django.conf import settings
from django.db import connection

from driftline.base.errors import Problem
from driftline.base.keys.secrets_at_rest import decrypt_optional
from driftline.base.outbound.json_calls import bearer
from driftline.base.outbound.redirected import download_redirected, without_query
from driftline.base.outbound.secrecy import failing_without_secrets
from driftline.base.outbound.transport import RequestFailed
from driftline.base.work.leased_work import WorkFailed, WorkLease
from inference.registry.intake.launcher import DEFAULT_LIMITS
from inference.registry.lineage import Lineage
from inference.registry.models import Model, Version
from inference.registry.selectors import get_model
from inference.registry.versions import upload_version
from monitors.workflows.models import Run
from monitors.workflows.pulls.models import Pull
from monitors.workflows.starting.arrivals import arriving_file, metadata_of_champion
from monitors.workflows.starting.patience import NotYet, attempt_patiently
from monitors.workflows.starting.starts import UnableToStart, start_run

DOWNLOAD_SECONDS = 600.0  # less than a task may take
PROGRESS_SECONDS = 2.0
COMMIT_HEADER = "X-Repo-Commit"
"""The hub says with it which commit a revision stands for; its own clients need it too."""


def do_pull(pull_id: int) -> bool:
    """Pull a file, or go on with that, where it is due; returns whether it was."""
    return attempt_patiently(Pull.objects.filter(pk=pull_id), _pull)


def _pull(lease: WorkLease[Pull]) -> None:
    pull = lease.read()
    model = get_model(project=pull.model.project, name=pull.model.name)
    version = pull.version or _bring(lease, pull, model)
    if pull.starts_run:
        _compare(lease, model, version)
    else:
        _finish(lease, Pull.State.REGISTERED)


def _finish(lease: WorkLease[Pull], state: Pull.State, run: Run | None = None) -> None:
    lease.finish(state, run=run)


# -- its file ----------------------------------------------------------------------------------------------------------
def _bring(lease: WorkLease[Pull], pull: Pull, model: Model) -> Version:
    """Download the file and register it; a file that the model has already is that version."""
    with arriving_file() as file:
        commit = _download(lease, pull, file)
        file.seek(0)
        lease.read()  # nothing is registered for a pull that was cancelled meanwhile
        metadata = pull.metadata or metadata_of_champion(model)
        version, _ = upload_version(
            model=model,
            stream=file,
            metadata=msgspec.json.encode(metadata) if metadata else None,
            lineage=_lineage(pull, commit),
            actor=pull.created_by,
            name=pull.name or None,
            expected_sha256=pull.sha256 or None,
        )
    lease.write(
        version=version, commit=commit, secret=b"", query=b""
    )  # what let it in is not needed any more
    lease.note_progress()
    return version


def _download(lease: WorkLease[Pull], pull: Pull, file: IO[bytes]) -> str:
    """Write the file, at most one byte more than the intake takes; returns the commit that a hub names."""
    query = decrypt_optional(pull.query)
    secret = decrypt_optional(pull.secret)
    url = f"{pull.url}?{query}" if query else pull.url
    try:
        with failing_without_secrets(secret):
            answered = download_redirected(
                url,
                CountedFile(file, lease),
                headers={"Accept-Encoding": "identity"},
                secret_headers=bearer(secret),
                max_bytes=DEFAULT_LIMITS.file_bytes + 1,
                deadline=DOWNLOAD_SECONDS,
            )
    except RequestFailed as error:
        if str(error).startswith("blocked_address"):
            raise WorkFailed(without_query(str(error), url)) from error
        raise
    lease.write(received_bytes=file.tell())
    return _commit_of(pull, answered.get(COMMIT_HEADER, ""))


def _commit_of(pull: Pull, named: str) -> str:
    if pull.source != Pull.Source.HUGGING_FACE:
        return ""
    if not (named.isascii() and named.isalnum() and 7 <= len(named) <= 64):
        raise WorkFailed(
            f"{settings.HUGGING_FACE_URL} does not say which commit {pull.revision} is ({COMMIT_HEADER}); is it a hub "
            "of Hugging Face? Its address is in DRIFTLINE_HUGGING_FACE_URL."
        )
    return named


class CountedFile:
    """A file that says in the row of its work how much of it arrived; a lease that is lost ends the download."""

    def __init__(self, file: IO[bytes], lease: WorkLease[Pull]) -> None:
        self._file, self._lease = file, lease
        self._written_at = time.monotonic()

    def write(self, block: bytes) -> int:
        """Write a block."""
        count = self._file.write(block)
        if time.monotonic() >= self._written_at + PROGRESS_SECONDS:
            try:
                self._lease.write(received_bytes=self._file.tell())
            finally:
                connection.close()  # downloads run in a thread of their own, which ends with them
            self._written_at = time.monotonic()
        return count


def _lineage(pull: Pull, commit: str) -> Lineage:
    if pull.source != Pull.Source.HUGGING_FACE:
        return Lineage(trigger=str(pull)[:200], parameters={"source": "url"}, uri=pull.url[:500])
    hub = pull.url.partition(f"/{pull.repository}/resolve/")[0]
    return Lineage(
        trigger=str(pull)[:200],
        parameters={
            "source": "huggingface",
            "repository": pull.repository,
            "revision": pull.revision,
            "commit": commit,
            "file": pull.file,
        },
        uri=f"{hub}/{pull.repository}/blob/{commit}/{pull.file}"[:500],
    )


# -- its run -----------------------------------------------------------------------------------------------------------
def _compare(lease: WorkLease[Pull], model: Model, version: Version) -> None:
    """Start the run, once however often this is done; raises NotYet while another run is under way."""
    try:
        with lease.fenced() as pull:
            model.deployment.refresh_from_db()
            if model.deployment.champion_id == version.pk:
                _finish(lease, Pull.State.CHAMPION)
                return
            run = start_run(
                model=model,
                trigger=str(pull)[:200],
                actor=pull.created_by,
                version=version.version,
                request_key=f"pull-{pull.pk}",
            )
            _finish(lease, Pull.State.COMPARED, run)
    except UnableToStart as refusal:
        if refusal.code == "run_active":
            raise NotYet(f"The run has to wait. {refusal.detail}") from refusal
        raise _without_run(version, refusal) from refusal
    except Problem as refusal:
        raise _without_run(version, refusal) from refusal


def _without_run(version: Version, refusal: Problem) -> WorkFailed:
    return WorkFailed(f"It is version {version.version}, and no run compares it. {refusal.detail}")
