"""Who works on an import, and the token without which nothing of it can be written."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from driftline.common.leased_work import Lease, claim
from inference.prediction_log.imports.models import Import

_ALIVE_SPACE = 7_322  # session locks that die with the process that works on an import


class BeingWorkedOn(Exception):
    """Another process is alive and imports this file."""


@contextmanager
def leased(import_id: int) -> Iterator[Lease[Import]]:
    """Hold an unfinished import until the block ends; raises BeingWorkedOn.

    A process that died is followed at once: its session has ended. One that hangs is followed when its lease ends.
    """
    is_alone = _ask("SELECT pg_try_advisory_lock(%s, %s)", import_id)
    try:
        yield _take(import_id, is_alone=is_alone)
    finally:
        if is_alone:
            _ask("SELECT pg_advisory_unlock(%s, %s)", import_id)


def _take(import_id: int, *, is_alone: bool) -> Lease[Import]:
    rows = Import.objects.filter(pk=import_id)
    lease = claim(rows, or_held_by_nobody=is_alone, state=Import.State.RUNNING)
    if lease is None:
        raise BeingWorkedOn
    return lease


def _ask(statement: str, import_id: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, [_ALIVE_SPACE, import_id])
        return bool(cursor.fetchone()[0])
