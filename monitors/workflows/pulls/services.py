"""Writes of pulls: ask for one, try one again, cancel one."""

import re
from typing import Any

import msgspec
from django.db import IntegrityError, transaction

from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem, invalid, not_found
from driftline.base.keys.secrets_at_rest import encrypt
from driftline.base.outbound.secrecy import seal
from driftline.base.work.task_queue import Task, enqueue
from inference.registry.intake import IntakeRefused, parse_metadata
from inference.registry.models import Model
from inference.registry.versions import check_version_name
from monitors.workflows.pulls.addresses import Address
from monitors.workflows.pulls.models import Pull

MAX_WAITING = 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


def request_pull(
    *,
    model: Model,
    address: Address,
    actor: str,
    token: str = "",
    sha256: str = "",
    name: str = "",
    metadata: dict[str, Any] | None = None,
    starts_run: bool = False,
    request_key: str = "",
) -> Pull:
    """Ask a worker to pull a file, and to start a run with it where that is asked for.

    A second request with the same `request_key` gives the first one's pull. Raises Problem (422) for what could never
    work, and `too_many_pulls` (409) where many wait already.
    """
    wanted = {
        "source": address.source, "url": address.url, "repository": address.repository,
        "revision": address.revision, "file": address.file, "sha256": _checked_digest(sha256), "name": name,
        "metadata": _checked_metadata(metadata), "starts_run": starts_run,
    }  # fmt: skip
    check_version_name(name or None)
    sealed = {"secret": seal(token, "/token"), "query": encrypt(address.query) if address.query else b""}
    if earlier := _asked_before(model, request_key, wanted):
        return earlier
    if Pull.objects.filter(model=model).unfinished().count() >= MAX_WAITING:
        raise Problem(
            409, "too_many_pulls", f"{MAX_WAITING} pulls of {model} wait already; wait for one or cancel it."
        )
    try:
        with transaction.atomic():
            pull = Pull.objects.create(
                model=model, request_key=request_key, created_by=actor[:200], **wanted, **sealed
            )
            _record(pull, "version.pull", actor, {"address": pull.place, "run": starts_run})
            enqueue(Task.LONG_WORK)
    except IntegrityError:
        if earlier := _asked_before(model, request_key, wanted):
            return earlier
        raise
    return pull


def get_pull(*, model: Model, pull_id: int) -> Pull:
    """Find a pull of a model; raises Problem 404."""
    found = Pull.objects.filter(model=model, pk=pull_id).select_related("version", "run").first()
    if found is None:
        raise not_found("pull")
    return found


def retry(*, pull: Pull, actor: str) -> Pull:
    """Try a pull again that failed, at once; raises Problem `pull_not_failed` (409) for another."""
    with transaction.atomic():
        if not Pull.objects.filter(pk=pull.pk).failed().begin_again(failures=0):
            raise Problem(
                409, "pull_not_failed", f"The {pull} is {pull.state}; only a failed one is tried again."
            )
        _record(pull, "version.pull_again", actor, None)
        enqueue(Task.LONG_WORK)
    return get_pull(model=pull.model, pull_id=pull.pk)


def cancel(*, pull: Pull, actor: str) -> Pull:
    """End a pull that waits, is under way or has failed, and forget its token; what it registered stays.

    Raises Problem `pull_ended` (409).
    """
    ended = {
        "state": Pull.State.CANCELLED,
        "lease_token": None,
        "lease_until": None,
        "secret": b"",
        "query": b"",
    }
    with transaction.atomic():
        open_states = (*Pull.UNFINISHED, Pull.State.FAILED)
        if not Pull.objects.filter(pk=pull.pk, state__in=open_states).update(**ended):
            raise Problem(409, "pull_ended", f"The {pull} is {pull.state} already.")
        _record(pull, "version.pull_cancel", actor, None)
    return get_pull(model=pull.model, pull_id=pull.pk)


def _asked_before(model: Model, request_key: str, wanted: dict[str, Any]) -> Pull | None:
    """Find the pull that a request with this key asked for; the key must not stand for another request."""
    if not request_key:
        return None
    pull = Pull.objects.filter(model=model, request_key=request_key).select_related("version", "run").first()
    if pull is not None and any(getattr(pull, name) != value for name, value in wanted.items()):
        raise Problem(
            422,
            "idempotency_key_reused",
            f"This Idempotency-Key asked for pull {pull.pk} with another body; use a new key for a new request.",
        )
    return pull


def _record(pull: Pull, action: str, actor: str, after: Any) -> None:
    record_audit(
        project=pull.model.project, actor=actor, action=action, subject=str(pull.model)[:200],
        after={"pull": pull.pk, **(after or {})},
    )  # fmt: skip


def _checked_digest(sha256: str) -> str:
    sha256 = sha256.strip().lower().removeprefix("sha256:")
    if sha256 and not _DIGEST.fullmatch(sha256):
        raise invalid("/sha256", "A SHA-256 has 64 hexadecimal digits; copy all of them, or leave it out.")
    return sha256


def _checked_metadata(metadata: dict[str, Any] | None) -> dict[str, Any]:
    """Read the metadata as the intake will, so that a fault is named at once."""
    if metadata:
        try:
            parse_metadata(msgspec.json.encode(metadata))
        except IntakeRefused as refusal:
            raise invalid(f"/metadata{refusal.pointer or ''}", refusal.detail, refusal.code) from refusal
    return metadata or {}
