"""Long background work of one row: its lease, its attempts, and the reason where it failed.

Short work rows, of which a task takes many at once, are in `attempts.py`.

A worker counts the attempt when it begins, not when it fails: one that is killed while at it has used up an attempt
too. The lease is short and renewed from a thread, so that the next worker follows soon after a death, and nothing is
written without its token: a task that the broker delivers twice does the work once.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Self

from celery.exceptions import SoftTimeLimitExceeded
from django.db import DatabaseError, models, transaction
from django.db.models import F
from django.db.models.functions import Now

from driftline.base.signals import work_failed
from driftline.base.work.attempts import MAX_ATTEMPTS
from driftline.base.work.lease import LEASE, Lease, LeaseLost
from driftline.base.work.work_rows import WorkQuerySet, WorkRow

log = logging.getLogger(__name__)

RETRY_AFTER = timedelta(seconds=30)
FAILED = "failed"
WORKER_DIED = (
    f"Its worker died {MAX_ATTEMPTS} times while at it, perhaps for want of memory or time. "
    "It is not begun again until somebody asks for it."
)
TOOK_TOO_LONG = "It took longer than a background task may, and was ended."


class WorkFailed(Exception):
    """Another attempt would fail as well; the text is for the person who asked."""


class AttemptFailed(Exception):
    """This attempt failed and another may succeed; the text is for the person who asked."""


class LeasedQuerySet[Row: "LeasedWork"](WorkQuerySet[Row]):
    def unfinished(self) -> Self:
        """Narrow to work that is still to be done, whether or not a worker is at it."""
        return self.filter(state__in=self.model.UNFINISHED)

    def waiting(self) -> Self:
        """Narrow to work that a worker can begin with."""
        return self.unfinished().due()

    def running(self) -> Self:
        """Narrow to work that a worker is at."""
        return self.unfinished().filter(lease_until__gt=Now(), lease_token__isnull=False)

    def failed(self) -> Self:
        return self.filter(state=FAILED)

    def given_up(self) -> Self:
        """Narrow to work of which every attempt was used up; what was refused at once is its owner's to mend."""
        return self.failed().filter(attempts__gte=MAX_ATTEMPTS)

    def begin_again(self, **values: Any) -> int:
        """Schedule these rows to be worked on afresh, whoever is at them; returns how many."""
        return self.update(
            generation=F("generation") + 1, state=self.model.UNFINISHED[0], attempts=0, error="",
            touched_at=Now(), finished_at=None, lease_until=None, lease_token=None, **values,
        )  # fmt: skip


class LeasedWork(WorkRow):
    """Work of one row, which has a `state` with the value `failed`. A subclass names its unfinished states."""

    UNFINISHED: ClassVar[tuple[str, ...]]
    """The first is that of work that nobody has begun with."""

    state = models.CharField(max_length=10)
    attempts = models.IntegerField(
        default=0, db_default=0, help_text="times that a worker began since the last progress"
    )
    error = models.CharField(
        max_length=500, blank=True, default="", db_default="", help_text="why the last attempt failed"
    )
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def is_unfinished(self) -> bool:
        return self.state in self.UNFINISHED


@dataclass(frozen=True)
class WorkLease[Row: LeasedWork](Lease[Row]):
    """The right to do the work of one row."""

    attempts: int

    def note_progress(self) -> None:
        """Count the attempts afresh: what follows is new work."""
        if self.attempts > 1:
            self.write(attempts=1, error="")

    def release(self, **values: Any) -> None:
        """Free the row for the next worker at once: its work goes on in another slice."""
        super().release(attempts=0, **values)

    def finish(self, state: str, **values: Any) -> None:
        """Write that the work is done."""
        self.write(
            **{"state": state, "error": "", "attempts": 0, "finished_at": Now(), **values},
            lease_until=None, lease_token=None,
        )  # fmt: skip

    def fail(self, reason: str) -> None:
        """Write that the work failed for good, and why."""
        with self.fenced() as row:
            _fail(row, reason)

    def note_failure(self, reason: str) -> None:
        """Leave the work to another attempt after a pause; the last one fails for good."""
        if self.read().attempts >= MAX_ATTEMPTS:
            self.fail(f"It failed {MAX_ATTEMPTS} times. {reason}")
            return
        self.write(error=shortened(reason), lease_until=Now() + RETRY_AFTER, lease_token=None)

    def _checked(self, row: Row | None) -> Row:
        row = super()._checked(row)
        if not row.is_unfinished:
            raise LeaseLost
        return row


def claim[Row: LeasedWork](
    rows: LeasedQuerySet[Row], *, or_held_by_nobody: bool = False, **begin: Any
) -> WorkLease[Row] | None:
    """Lease one row of `rows` that waits, and count the attempt; None where there is none.

    Work of which each attempt was begun and none ended has failed: its workers died. `begin` is what the row is
    changed to. With `or_held_by_nobody` the caller knows that whoever holds a lease is dead.
    """
    open_rows = rows.unfinished() if or_held_by_nobody else rows.waiting()
    with transaction.atomic():
        row = open_rows.order_by("pk").select_for_update(of=("self",), skip_locked=True).first()
        if row is None:
            return None
        if row.attempts >= MAX_ATTEMPTS:
            _fail(row, WORKER_DIED)
            return None
        token = secrets.randbits(62)
        rows.model._base_manager.filter(pk=row.pk).update(
            lease_until=Now() + LEASE, lease_token=token, attempts=F("attempts") + 1, **begin
        )
    return WorkLease(rows.model, row.pk, token, row.attempts + 1)


def attempt[Row: LeasedWork](
    rows: LeasedQuerySet[Row], work: Callable[[WorkLease[Row]], None], **begin: Any
) -> bool:
    """Do the work of one row of `rows` that waits, and write how that ended; False where none waits.

    `work` raises WorkFailed where another attempt would fail as well; after any other exception there is another.
    """
    lease = claim(rows, **begin)
    if lease is not None:
        work_under(lease, work)
    return lease is not None


def work_under[Row: LeasedWork](lease: WorkLease[Row], work: Callable[[WorkLease[Row]], None]) -> None:
    """Do the work of a leased row, and write how that ended."""
    try:
        with lease.renewed():
            _try(lease, work)
    except LeaseLost:
        log.info("the work is another's now", extra={"work": lease.model.__name__, "row": lease.pk})


def _try[Row: LeasedWork](lease: WorkLease[Row], work: Callable[[WorkLease[Row]], None]) -> None:
    try:
        work(lease)
    except LeaseLost:
        raise
    except WorkFailed as reason:
        lease.fail(str(reason))
    except SoftTimeLimitExceeded:
        lease.fail(TOOK_TOO_LONG)
    except AttemptFailed as reason:
        log.error("background work failed", extra={"work": lease.model.__name__, "row": lease.pk})
        lease.note_failure(str(reason))
    except Exception as error:  # whatever it was, the people who asked must see that it did not work
        log.exception("background work failed", extra={"work": lease.model.__name__, "row": lease.pk})
        try:
            lease.note_failure(
                f"The last time it ended with {type(error).__name__}; the server's log says more."
            )
        except DatabaseError:
            log.warning("the database is away; the work is tried again when its lease ends")


def _fail(row: LeasedWork, reason: str) -> None:
    """Write that work failed for good, in the caller's transaction, which has locked the row."""
    row.state, row.error = FAILED, shortened(reason)
    type(row)._base_manager.filter(pk=row.pk).update(
        state=FAILED, error=row.error, finished_at=Now(), lease_until=None, lease_token=None
    )
    work_failed.send(sender=type(row), row=row)


def shortened(reason: str) -> str:
    """Cut a reason to what a page can show and the database holds."""
    return "".join(character if character.isprintable() else " " for character in reason)[:500]
