"""Who works on an import, and the token without which nothing of it can be written."""

from collections.abc import Iterator
from contextlib import contextmanager

from driftline.base.work.advisory_locks import AdvisoryLock, session_lock
from driftline.base.work.leased_work import WorkLease, claim
from inference.prediction_log.imports.models import Import


class BeingWorkedOn(Exception):
    """Another process is alive and imports this file."""


@contextmanager
def leased(import_id: int) -> Iterator[WorkLease[Import]]:
    """Hold an unfinished import until the block ends; raises BeingWorkedOn.

    A process that died is followed at once: its session has ended. One that hangs is followed when its lease ends.
    """
    rows = Import.objects.filter(pk=import_id)
    with session_lock(AdvisoryLock.IMPORT, import_id) as is_alone:
        lease = claim(rows, or_held_by_nobody=is_alone, state=Import.State.RUNNING)
        if lease is None:
            raise BeingWorkedOn
        yield lease
