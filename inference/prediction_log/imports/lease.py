"""Who works on an import, and the token without which nothing of it can be written."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction
from django.db.models.functions import Now

from inference.prediction_log.imports.models import UNFINISHED, Import

LEASE = timedelta(seconds=60)
_ALIVE_SPACE = 7_322  # session locks that die with the process that works on an import


class LeaseLost(Exception):
    """The import was cancelled, or taken over by another process after this one seemed dead."""


class BeingWorkedOn(Exception):
    """Another process is alive and imports this file."""


@dataclass(frozen=True)
class Lease:
    """The right to go on with one import."""

    import_id: int
    token: int

    def read(self) -> Import:
        """Read the import as it is now; raises LeaseLost when it is somebody else's."""
        return _found(Import.objects.filter(pk=self.import_id, lease_token=self.token).first())

    @contextmanager
    def fenced(self) -> Iterator[Import]:
        """Open a transaction in which the import is locked, its token checked and its lease renewed."""
        with transaction.atomic():
            mine = Import.objects.filter(pk=self.import_id, lease_token=self.token)
            job = _found(mine.select_for_update(of=("self",)).select_related("model__project").first())
            mine.update(lease_until=Now() + LEASE)
            yield job


def _found(job: Import | None) -> Import:
    if job is None or not job.is_unfinished:
        raise LeaseLost
    return job


@contextmanager
def leased(import_id: int) -> Iterator[Lease]:
    """Hold an unfinished import until the block ends; raises BeingWorkedOn.

    A process that died is followed at once: its session has ended. One that hangs is followed when its lease ends.
    """
    is_alone = _ask("SELECT pg_try_advisory_lock(%s, %s)", import_id)
    try:
        yield _take(import_id, is_alone=is_alone)
    finally:
        if is_alone:
            _ask("SELECT pg_advisory_unlock(%s, %s)", import_id)


def _take(import_id: int, *, is_alone: bool) -> Lease:
    token = secrets.randbits(62)
    free = Import.objects.filter(pk=import_id, state__in=UNFINISHED)
    if not is_alone:
        free = free.due()
    if not free.update(lease_until=Now() + LEASE, lease_token=token, state=Import.State.RUNNING):
        raise BeingWorkedOn
    return Lease(import_id, token)


def _ask(statement: str, import_id: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, [_ALIVE_SPACE, import_id])
        return bool(cursor.fetchone()[0])


def give_back(lease: Lease) -> None:
    """Free an import for the next process at once."""
    Import.objects.filter(pk=lease.import_id, lease_token=lease.token).update(
        lease_until=None, lease_token=None
    )
