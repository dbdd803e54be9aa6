"""A run's lease: who works on it, and the token without which nothing of the run can be written."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now

from monitors.workflows.models import ACTIVE_STATES, Run

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)
HEARTBEAT_S = 3.0


class LeaseLost(Exception):
    """The run was finished by a person, or taken over by another worker after this one seemed dead."""


@dataclass(frozen=True)
class Lease:
    """The right to work on one run, until `lost` is set."""

    run_id: int
    token: int
    lost: threading.Event = field(default_factory=threading.Event)

    def read(self) -> Run:
        """Read the run as it is now; raises LeaseLost when it is somebody else's."""
        run = (
            Run.objects.filter(pk=self.run_id, lease_token=self.token)
            .select_related("model__project", "champion", "challenger")
            .first()
        )
        if run is None:
            raise LeaseLost
        return run

    @contextmanager
    def fenced(self) -> Iterator[Run]:
        """Open a transaction in which the run is locked and the token has been checked."""
        with transaction.atomic():
            run = Run.objects.select_for_update().filter(pk=self.run_id, lease_token=self.token).first()
            if run is None:
                raise LeaseLost
            yield run


def take(run_id: int) -> Lease | None:
    """Lease an active run that nobody works on; None when there is nothing to take."""
    with transaction.atomic():
        claimed = Run.objects.filter(pk=run_id, state__in=ACTIVE_STATES).claim(limit=1, lease=LEASE)
    return Lease(run_id, claimed[0].lease_token) if claimed else None  # type: ignore[arg-type]


@contextmanager
def kept(lease: Lease) -> Iterator[None]:
    """Renew the lease from a thread while the body works; the thread sets `lost` when it cannot."""
    done = threading.Event()
    thread = threading.Thread(
        target=_renew_until, args=(lease, done), name=f"lease-{lease.run_id}", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _renew_until(lease: Lease, done: threading.Event) -> None:
    good_until = time.monotonic() + LEASE.total_seconds()
    try:
        while not done.wait(HEARTBEAT_S):
            asked = time.monotonic()
            renewed = _renew(lease)
            if renewed:
                good_until = asked + LEASE.total_seconds()
            elif renewed is not None or asked > good_until:
                lease.lost.set()
                return
    finally:
        connection.close()


def _renew(lease: Lease) -> bool | None:
    """Renew once: True when renewed, False when the lease is lost, None when the database did not answer."""
    try:
        changed = Run.objects.filter(pk=lease.run_id, lease_token=lease.token).update(
            lease_until=Now() + LEASE
        )
    except DatabaseError:
        log.warning("lease not renewed", extra={"run": lease.run_id})
        connection.close()
        return None
    return changed > 0


def give_back(lease: Lease) -> None:
    """Free the run for the next worker at once."""
    Run.objects.filter(pk=lease.run_id, lease_token=lease.token).update(lease_until=None, lease_token=None)
