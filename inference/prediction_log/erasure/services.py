"""Requests erasures, and does them step by step."""

import hashlib
import hmac
import logging
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import Model, Q
from django.db.models.functions import Now

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import record_audit
from driftline.base.errors import Problem
from driftline.base.feature import ErasureStep, data_removals
from driftline.base.ids import ID_LENGTH, is_valid_id
from driftline.base.work.advisory_locks import AdvisoryLock, session_lock
from driftline.base.work.lease import LeaseLost
from driftline.base.work.leased_work import AttemptFailed, LeasedQuerySet, WorkLease, attempt
from driftline.base.work.task_queue import Task, enqueue
from inference.prediction_log.erasure.hooks import list_later_steps
from inference.prediction_log.erasure.models import Erasure
from inference.prediction_log.erasure.places import events, files, jobs, rows, spool
from inference.prediction_log.erasure.work import Blocked, SliceOver, Step, Work, seal, work_of
from inference.prediction_log.events.models import EventHalf
from inference.prediction_log.models import Label, PredictionChunk, PredictionRow, UnsentLabel

log = logging.getLogger(__name__)

LOOK_AGAIN_AFTER = timedelta(seconds=5)  # for what an erasure waits for

_FIRST: dict[str, Step] = {
    "event halves": events.erase_halves,  # before the rows, for one may be joined meanwhile
    "job requests": jobs.erase_requests,
    "drain": spool.await_drain,
    "imports": files.await_imports,
    "rows": rows.erase_rows,
    "copies": rows.erase_copies,
    "spool": spool.overwrite_drained,
    "bad rows": files.erase_bad_rows,
    "job answers": jobs.erase_answers,
}
_LAST: dict[str, Step] = {"logs": files.blank_logs}
_VACUUMED: tuple[type[Model], ...] = (PredictionChunk, PredictionRow, Label, UnsentLabel, EventHalf)


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
                return _begun_again(known, actor)
            erasure = Erasure.objects.create(
                project=project, key_hash=key_hash, sealed=seal(key), requested_by=actor
            )
            record_audit(
                project=project, actor=actor, action="subject.erase", subject=str(erasure),
                after={"key_hash": key_hash},
            )  # fmt: skip
            enqueue(Task.LONG_WORK)
    except IntegrityError:  # somebody asked for the same at this moment
        return unfinished.get()
    erasure.refresh_from_db()
    return erasure


def hash_key(project: Project, key: str) -> str:
    """Hash a key so that who has the key and the home can tell its receipt, and nobody else anything."""
    return hmac.new(settings.HASH_KEY, f"subject {project.pk} {key}".encode(), hashlib.sha256).hexdigest()


def _begun_again(erasure: Erasure, actor: str) -> Erasure:
    """Schedule another try of an erasure that failed, in the caller's transaction; any other is under way."""
    if Erasure.objects.filter(pk=erasure.pk).failed().begin_again():
        record_audit(project=erasure.project, actor=actor, action="subject.erase_again", subject=str(erasure))
        enqueue(Task.LONG_WORK)
        erasure.refresh_from_db()
    return erasure


def resumable_erasures() -> LeasedQuerySet[Erasure]:
    """Select the erasures that a worker can resume; one that waits for something is looked at every few seconds."""
    looked_at = Q(state=Erasure.State.WAITING, touched_at__gt=Now() - LOOK_AGAIN_AFTER)
    return Erasure.objects.waiting().exclude(looked_at)


def resume_erasure(erasure_id: int) -> bool:
    """Do what can be done of an erasure now, in a worker; returns whether there was something to do."""
    erasures = Erasure.objects.filter(pk=erasure_id)
    with session_lock(AdvisoryLock.BACKUP_MOMENT, shared=True) as is_free:
        if is_free:
            return attempt(erasures, _work)
    erasures.waiting().update(
        state=Erasure.State.WAITING, waiting_for="a backup that is being made", touched_at=Now()
    )
    return False


def _work(lease: WorkLease[Erasure]) -> None:
    work = work_of(lease)
    try:
        for name, step in steps():
            _do(work, name, step)
        _vacuum()
        _finish(work)
    except Blocked as reason:
        lease.release(
            state=Erasure.State.WAITING,
            waiting_for=str(reason)[:200],
            progress=work.progress,
            touched_at=Now(),
        )
    except SliceOver:
        lease.release(progress=work.progress)
    except (LeaseLost, SoftTimeLimitExceeded, DatabaseError):
        raise
    except Exception as error:  # its text may hold the key, also in a log: the kind of the error has to do
        raise AttemptFailed(f"The last time it ended with {type(error).__name__}.") from None


def steps() -> Iterator[tuple[str, Step]]:
    """Yield the steps in their order, with their names: those of a feature follow the one that each names."""
    following: dict[str, list[ErasureStep]] = defaultdict(list)
    for removal in data_removals():
        for step in removal.erasure:
            following[step.after].append(step)
    for name, erase in (_FIRST | list_later_steps() | _LAST).items():
        yield name, erase
        for step in following[name]:
            yield step.name, step.erase


def _do(work: Work, name: str, step: Step) -> None:
    done = work.progress.setdefault("done", [])
    if name in done:
        return
    step(work)
    with work.fenced() as erasure:
        done.append(name)
        erasure.waiting_for = ""
    work.lease.write(state=Erasure.State.RUNNING, attempts=1, error="")


def _vacuum() -> None:
    """Allow the database to overwrite what was deleted."""
    if connection.in_atomic_block:
        return
    with connection.cursor() as cursor:
        for model in chain(_VACUUMED, *(removal.vacuumed for removal in data_removals())):
            cursor.execute(f"VACUUM {connection.ops.quote_name(model._meta.db_table)}")


def _finish(work: Work) -> None:
    with work.fenced() as erasure:
        erasure.waiting_for, erasure.sealed = "", None
        work.progress = {}
        record_audit(
            project=work.project, actor=erasure.requested_by, action="subject.erased", subject=str(erasure),
            after={"key_hash": erasure.key_hash, "counts": erasure.counts},
        )  # fmt: skip
        work.lease.finish(Erasure.State.DONE)
