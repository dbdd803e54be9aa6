"""Work rows that are tried a bounded number of times: after that they have failed, and say why.

An attempt is counted when a row is claimed, so that work which ends its process is counted too. Rows that failed once
are claimed one at a time: what else was claimed beside the culprit is not blamed with it. A row starts anew when
somebody touches it, or has it retried.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Self

from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, InterfaceError, OperationalError, models, transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest, Now

from driftline.base.work.lease import LEASE
from driftline.base.work.work_rows import WorkQuerySet, WorkRow, still_claimed

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
RETRY_AFTER = timedelta(seconds=10)
ENDED_WITHOUT_REASON = "The worker ended while it was at this; it may have run out of memory."
DATABASE_FAULTS = (OperationalError, InterfaceError)
"""A connection that is lost, a deadlock and the like: no fault of the work, and no attempt of it."""


class AttemptedQuerySet[Row: "AttemptedWorkRow"](WorkQuerySet[Row]):
    def due(self) -> Self:
        """Narrow to rows that nobody is working on and that may still be tried."""
        return super().due().filter(attempts__lt=MAX_ATTEMPTS)

    def failed(self) -> Self:
        """Narrow to rows that nobody tries any more."""
        return self.filter(_FAILED)

    def unfinished(self) -> Self:
        """Narrow to rows that are being worked on, or will be."""
        return self.filter(Q(attempts__lt=MAX_ATTEMPTS) | Q(lease_until__gte=Now()))

    def troubled(self) -> Self:
        """Narrow to rows that failed at least once and are not done."""
        return self.filter(~Q(error="") | _FAILED)

    def claim(self, *, limit: int, lease: timedelta = LEASE) -> list[Row]:
        """Lease due rows to the caller and count the attempt: several new ones, or one that was tried before."""
        rows = super(AttemptedQuerySet, self.filter(attempts=0)).claim(limit=limit, lease=lease)
        rows = rows or super().claim(limit=1, lease=lease)
        if rows:
            still_claimed(rows).update(attempts=F("attempts") + 1)
        for row in rows:
            row.attempts += 1
        return rows

    def retry(self) -> int:
        """Schedule these rows to be tried anew; returns how many there are."""
        return self.update(attempts=0, error="", lease_until=None, lease_token=None)


_FAILED = Q(attempts__gte=MAX_ATTEMPTS) & (Q(lease_until=None) | Q(lease_until__lt=Now()))


class AttemptedWorkRow(WorkRow):
    """Work that is tried a few times; `error` says why the last attempt failed."""

    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    error = models.CharField(max_length=500, blank=True, default="", db_default="")

    class Meta:
        abstract = True

    @property
    def reason(self) -> str:
        """Why it failed."""
        return self.error or ENDED_WITHOUT_REASON


def work_apart[Row: AttemptedWorkRow](
    rows: Sequence[Row],
    work: Callable[[Sequence[Row]], None],
    *,
    on_failure: Callable[[Row], None] = lambda row: None,
) -> None:
    """Call `work` for all rows at once and, where that fails, for each of them alone.

    A row that fails alone keeps the reason; `on_failure` then writes what follows from it, in the same commit. Raises
    what a fault of the database raised, and that the worker's time is over: each row then has a time of its own.
    """
    try:
        work(rows)
        return
    except DATABASE_FAULTS:
        _forgive(rows)
        raise
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # whatever it is, it stops none of the other rows
        log.exception("work failed", extra={"kind": rows[0]._meta.model_name, "rows": len(rows)})
        if len(rows) == 1:
            _note(rows[0], error, on_failure)
            return
    for row in rows:
        work_apart([row], work, on_failure=on_failure)


def reason_of(error: Exception) -> str:
    """Return what went wrong, for people who can do something about it."""
    return f"{type(error).__name__}: {error}"[:500]


def note_failure(row: AttemptedWorkRow, reason: str) -> bool:
    """Keep why a row failed and leave it to the next attempt; False where it was touched or taken over meanwhile."""
    wait = row.attempts * RETRY_AFTER if row.attempts < MAX_ATTEMPTS else None
    noted = still_claimed([row]).update(
        error=reason[:500], lease_until=None if wait is None else Now() + wait, lease_token=None
    )
    row.error = reason[:500]
    return bool(noted)


def release(rows: Sequence[AttemptedWorkRow]) -> None:
    """Return claimed rows before their work is finished: they are due at once, and the attempt does not count."""
    still_claimed(rows).update(attempts=Greatest(F("attempts") - 1, 0), lease_until=None, lease_token=None)


def _note[Row: AttemptedWorkRow](row: Row, error: Exception, on_failure: Callable[[Row], None]) -> None:
    with transaction.atomic():
        if note_failure(row, reason_of(error)):
            on_failure(row)


def _forgive(rows: Sequence[AttemptedWorkRow]) -> None:
    """Take the attempt back that was counted when the rows were claimed; they are tried again when their lease ends."""
    try:
        with transaction.atomic():
            still_claimed(rows).update(attempts=Greatest(F("attempts") - 1, 0))
    except DatabaseError:
        log.warning("attempts not taken back", extra={"rows": len(rows)})
