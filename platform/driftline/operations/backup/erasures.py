"""Pauses erasures while a backup fixes its moment: its files then hold what its database says they hold.

It holds how far each erasure had come, and the installation that is restored from it does the rest.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from driftline.base.clock import now
from driftline.base.work.advisory_locks import AdvisoryLock, session_lock
from inference.prediction_log.erasure.models import Erasure

MAX_WAIT_SECONDS = 300.0  # an erasure lets other work pass after a minute, or when its step has ended
LOOK_SECONDS = 0.5


class ErasureAtWork(Exception):
    """An erasure did not pause; the text names it."""


@contextmanager
def paused_erasures(say: Callable[[str], None]) -> Iterator[None]:
    """Wait until no erasure is worked on, and keep workers from all of them while the block runs.

    Raises ErasureAtWork where one does not pause in time, or went on in the block: the workers of an earlier release
    do not know that they have to wait.
    """
    if Erasure._meta.db_table not in connection.introspection.table_names():
        yield  # a release from before there were erasures
        return
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    if (at_work := _at_work()).exists():
        say(f"Waiting until {_name(at_work)} can pause, {MAX_WAIT_SECONDS / 60:.0f} minutes at most ...")
    with session_lock(AdvisoryLock.BACKUP_MOMENT, wait_seconds=MAX_WAIT_SECONDS) as is_held:
        while (at_work := _at_work()).exists() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)  # who has a lease without the lock died, or is of an earlier release
        if not is_held or at_work.exists():
            raise ErasureAtWork(
                f"{_name(at_work)} did not pause within {MAX_WAIT_SECONDS / 60:.0f} minutes; make the backup again."
            )
        began = now()
        yield
        if (went_on := _at_work(Q(finished_at__gte=began))).exists():
            raise ErasureAtWork(
                f"{_name(went_on)} went on meanwhile, so files may hold what it erased; make the backup again."
            )


def _at_work(or_also: Q | None = None) -> QuerySet[Erasure]:
    leased = Q(state__in=Erasure.UNFINISHED, lease_until__gt=Now(), lease_token__isnull=False)
    return Erasure.objects.filter(leased if or_also is None else leased | or_also).order_by("pk")


def _name(erasures: QuerySet[Erasure]) -> str:
    found = erasures.values_list("pk", "project__name").first()
    return "an erasure" if found is None else f"erasure {found[0]} of project {found[1]}"
