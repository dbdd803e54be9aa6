"""Work rows: PostgreSQL holds what is to be done; a message of the broker only wakes a worker.

A row is due until the work it names is done. A worker leases it, works, and finishes it with the token and the
generation it saw: work that was added meanwhile, or taken over after the lease ran out, keeps the row alive.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Self

from django.db import connection, models, transaction
from django.db.models import Q
from django.db.models.functions import Now

from driftline.base.work.advisory_locks import AdvisoryLock, session_lock
from driftline.base.work.lease import LEASE, Leasable
from driftline.base.work.task_queue import Task, enqueue

TURN_SECONDS = 1.0  # of uninterrupted work on one model
PAUSE_SECONDS = 2.0  # between two passes over a model with constant traffic


class WorkQuerySet[Row: Leasable](models.QuerySet[Row]):
    def due(self) -> Self:
        """Narrow to rows that nobody is working on."""
        return self.filter(Q(lease_until=None) | Q(lease_until__lt=Now()))

    def claim(self, *, limit: int, lease: timedelta = LEASE) -> list[Row]:
        """Lease up to `limit` due rows to the caller; rows that another worker holds are skipped.

        The rows are picked in a query of their own: as a subquery of the update PostgreSQL may run it once a row,
        and each time it skips what is updated already, until every due row is leased.
        """
        token = secrets.randbits(62)
        due = self.due().order_by("pk").select_for_update(skip_locked=True).values_list("pk", flat=True)
        picked = self.model._base_manager.filter(pk__in=list(due[:limit]))
        picked.update(lease_until=Now() + lease, lease_token=token)
        return list(picked.order_by("pk"))


class WorkRow(Leasable):
    """Something to do, named by the subclass's own unique fields."""

    generation = models.BigIntegerField(default=1)
    touched_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True


def touch(model: type[WorkRow], rows: Iterable[Sequence[Any]], *, fields: Sequence[str]) -> None:
    """Make work due, in the caller's transaction: insert each row or raise the generation of the one that waits.

    `rows` hold the values of the columns `fields`, which must be the subclass's unique key. Sorted, so that two
    writers that touch the same rows cannot deadlock. Whoever works on a row loses it: what it read is out of date.
    One that failed (`common.attempts`) starts anew.
    """
    rows = sorted(set(map(tuple, rows)))
    if not rows:
        return
    table = connection.ops.quote_name(model._meta.db_table)
    columns = ", ".join(connection.ops.quote_name(name) for name in fields)
    places = ", ".join(["(" + ", ".join(["%s"] * len(fields)) + ", 1)"] * len(rows))
    known = {field.name for field in model._meta.fields}
    anew = "".join(f", {name} = DEFAULT" for name in ("attempts", "error") if name in known)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({columns}, generation) VALUES {places} ON CONFLICT ({columns}) "
            f"DO UPDATE SET generation = {table}.generation + 1, touched_at = now(), "
            f"lease_until = NULL, lease_token = NULL{anew}",
            [value for row in rows for value in row],
        )


def finish(rows: Sequence[WorkRow]) -> None:
    """Delete the rows whose work is done, unless they were touched or taken over since they were claimed.

    A row that is locked is being touched by its holder, so it stays; waiting for it could deadlock.
    """
    if not rows:
        return
    with transaction.atomic():
        untouched = still_claimed(rows).select_for_update(skip_locked=True).values_list("pk", flat=True)
        type(rows[0])._base_manager.filter(pk__in=list(untouched)).delete()


def still_claimed[Row: WorkRow](rows: Sequence[Row]) -> models.QuerySet[Row]:
    """Select these rows, as far as nobody has touched or taken them over since they were claimed.

    Rows that were claimed together are one condition: one for each would take a millisecond a row to write.
    """
    claims: dict[tuple[int, int | None], list[int]] = {}
    for row in rows:
        claims.setdefault((row.generation, row.lease_token), []).append(row.pk)
    seen = Q(pk__in=[])
    for (generation, token), keys in claims.items():
        seen |= Q(pk__in=keys, generation=generation, lease_token=token)
    return type(rows[0])._base_manager.filter(seen)


def work_in_turns(
    task: Task, kind: AdvisoryLock, model_id: int, work: Callable[[], bool], due: WorkQuerySet[Any]
) -> None:
    """Call `work` while it returns True (more is due), and enqueue `task` again for what remains.

    Only one process at a time works on a model (a lock of this `kind`); others return at once. A long backlog is
    enqueued again after `TURN_SECONDS`, so that other models get their turn. Work that was added meanwhile waits for
    `PAUSE_SECONDS`, so that a model with constant traffic is worked on at intervals.
    """
    wait = _work_alone(kind, model_id, work, due.exists)
    if wait is not None:
        enqueue(task, pause_seconds=wait, model_id=model_id)


def _work_alone(
    kind: AdvisoryLock, key: int, work: Callable[[], bool], is_due: Callable[[], bool]
) -> float | None:
    """Return the seconds after which to enqueue the task for what remains; None if nothing does."""
    ends_at = time.monotonic() + TURN_SECONDS
    with session_lock(kind, key) as is_alone:
        if not is_alone:
            return None
        while is_more := work():
            if time.monotonic() >= ends_at:
                break
    if is_more:
        return 0.0
    return PAUSE_SECONDS if is_due() else None
