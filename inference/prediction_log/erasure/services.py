"""Asks for erasures, and goes on with them step by step."""

import hashlib
import hmac
import logging

from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models.functions import Now

from driftline.accounts.models import Project
from driftline.accounts.services import record_audit
from driftline.common.doorbell import ring
from driftline.common.errors import Problem
from driftline.common.ids import ID_LENGTH, is_valid_id
from inference.prediction_log.erasure import files, halves, jobs, rows, spooled, tables
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.work import LEASE, LeaseLost, NotYet, OutOfTime, Step, Work, seal, take
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.models import Label, PredictionChunk, PredictionRow

log = logging.getLogger(__name__)

TASK = "inference.erase"

later_steps: dict[str, Step] = {}
"""What stages that this one does not know erase: they put it here. It comes after the log is clean."""

_FIRST: dict[str, Step] = {
    "event halves": halves.erase_halves,  # before the rows, for one may be joined meanwhile
    "job requests": jobs.erase_requests,
    "drain": spooled.await_drain,
    "imports": files.await_imports,
    "rows": rows.erase_rows,
    "copies": rows.erase_copies,
    "spool": spooled.overwrite_drained,
    "bad rows": files.erase_bad_rows,
    "job answers": jobs.erase_answers,
}
_LAST: dict[str, Step] = {"tables": tables.erase_from_tables, "logs": files.blank_logs}
_VACUUMED = (PredictionChunk, PredictionRow, Label, EventHalf)


def request_erasure(*, project: Project, key: str, actor: str) -> Erasure:
    """Erase a subject of a project from everywhere; gives the receipt, which an unfinished erasure of the key has."""
    if not is_valid_id(key):
        raise Problem(
            422,
            "invalid_subject",
            f"A subject's key has 1 to {ID_LENGTH} printable characters; send it as it was.",
        )
    key_hash = hash_key(project, key)
    unfinished = Erasure.objects.filter(project=project, key_hash=key_hash).exclude(state=Erasure.State.DONE)
    try:
        with transaction.atomic():
            if (known := unfinished.first()) is not None:
                return known
            erasure = Erasure.objects.create(
                project=project, key_hash=key_hash, sealed=seal(key), requested_by=actor
            )
            record_audit(
                project=project, actor=actor, action="subject.erase", subject=str(erasure),
                after={"key_hash": key_hash},
            )  # fmt: skip
            ring(TASK, erasure_id=erasure.pk)
    except IntegrityError:  # somebody asked for the same at this moment
        return unfinished.get()
    erasure.refresh_from_db()
    return erasure


def hash_key(project: Project, key: str) -> str:
    """Hash a key so that who has the key and the home can tell its receipt, and nobody else anything."""
    return hmac.new(settings.HASH_KEY, f"subject {project.pk} {key}".encode(), hashlib.sha256).hexdigest()


def go_on(erasure_id: int) -> None:
    """Do what can be done of an erasure now, in a worker."""
    work = take(erasure_id)
    if work is None:
        return
    try:
        for name, step in (_FIRST | later_steps | _LAST).items():
            _do(work, name, step)
        _vacuum()
        _finish(work)
    except NotYet as reason:
        _give_back(work, state=Erasure.State.WAITING, waiting_for=str(reason)[:200])
    except OutOfTime:
        _give_back(work)
        ring(TASK, erasure_id=erasure_id)
    except LeaseLost:
        pass
    except Exception as error:  # its text may hold the key: the kind of the error has to do
        log.error(
            "an erasure failed and is tried again",
            extra={"erasure": erasure_id, "kind": type(error).__name__},
        )
        _note_failure(work, error)


def _do(work: Work, name: str, step: Step) -> None:
    done = work.progress.setdefault("done", [])
    if name in done:
        return
    step(work)
    with work.fenced() as erasure:
        done.append(name)
        erasure.state, erasure.waiting_for, erasure.error = Erasure.State.RUNNING, "", ""


def _vacuum() -> None:
    """Let the database overwrite what was deleted."""
    if connection.in_atomic_block:
        return
    with connection.cursor() as cursor:
        for model in _VACUUMED:
            cursor.execute(f"VACUUM {connection.ops.quote_name(model._meta.db_table)}")


def _finish(work: Work) -> None:
    with work.fenced() as erasure:
        erasure.state, erasure.waiting_for, erasure.error, erasure.sealed = Erasure.State.DONE, "", "", None
        work.progress = {}
        record_audit(
            project=work.project, actor=erasure.requested_by, action="subject.erased", subject=str(erasure),
            after={"key_hash": erasure.key_hash, "counts": erasure.counts},
        )  # fmt: skip
        Erasure.objects.filter(pk=erasure.pk).update(finished_at=Now())
    _give_back(work)


def _give_back(work: Work, **changes: str) -> None:
    Erasure.objects.filter(pk=work.erasure_id, lease_token=work.token).update(
        lease_until=None, lease_token=None, progress=work.progress, **changes
    )


def _note_failure(work: Work, error: Exception) -> None:
    """Leave it to the next attempt, which begins when the lease ends."""
    try:
        Erasure.objects.filter(pk=work.erasure_id, lease_token=work.token).update(
            error=f"{type(error).__name__}; it is tried again after {LEASE.seconds // 60} minutes"
        )
    except DatabaseError:
        log.warning("the database is away; the erasure is tried again")
