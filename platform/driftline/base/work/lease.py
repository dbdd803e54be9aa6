"""Leases: the exclusive right to work on a row, until a time that its worker keeps moving on.

Each has a token, without which nothing of the row is written: a worker that seemed dead and comes back finds that its
lease is lost. Times are those of the database's clock.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar

from django.db import DatabaseError, connection, models, transaction
from django.db.models.functions import Now

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)


class LeaseLost(Exception):
    """The work was asked for afresh, ended by a person, or taken over after this worker seemed dead."""


class Leasable(models.Model):
    """A row that one worker at a time works on."""

    lease_until = models.DateTimeField(null=True, blank=True)
    lease_token = models.BigIntegerField(null=True, blank=True)

    class Meta:
        abstract = True


@dataclass(frozen=True)
class Lease[Row: Leasable]:
    """The right to work on one row, until `lost` is set. Everything is written through it."""

    LENGTH: ClassVar[timedelta] = LEASE
    RENEWAL_SECONDS: ClassVar[float] = 10.0

    model: type[Row]
    pk: int
    token: int
    lost: threading.Event = field(default_factory=threading.Event, kw_only=True)

    def read(self) -> Row:
        """Read the row as it is now; raises LeaseLost."""
        return self._checked(self._mine.first())

    @contextmanager
    def fenced(self) -> Iterator[Row]:
        """Open a transaction in which the row is locked, its token checked and its lease renewed."""
        with transaction.atomic():
            row = self._checked(self._mine.select_for_update(of=("self",)).first())
            self._mine.update(lease_until=Now() + self.LENGTH)
            yield row

    def write(self, **values: Any) -> None:
        """Change the row; raises LeaseLost."""
        if not self._mine.update(**values):
            raise LeaseLost

    def release(self, **values: Any) -> None:
        """Free the row for the next worker at once, and change it; raises LeaseLost."""
        self.write(lease_until=None, lease_token=None, **values)

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the lease from a thread while the body works; the thread sets `lost` when it cannot."""
        done = threading.Event()
        thread = threading.Thread(target=self._renew_until, args=(done,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _renew_until(self, done: threading.Event) -> None:
        good_until = time.monotonic() + self.LENGTH.total_seconds()
        try:
            while not done.wait(self.RENEWAL_SECONDS):
                began = time.monotonic()
                renewed = self._renew()
                if renewed:
                    good_until = began + self.LENGTH.total_seconds()
                elif renewed is not None or began > good_until:
                    self.lost.set()
                    return
        finally:
            connection.close()

    def _renew(self) -> bool | None:
        """Renew once: True when renewed, False when the lease is lost, None when the database did not answer."""
        try:
            return self._mine.update(lease_until=Now() + self.LENGTH) > 0
        except DatabaseError:
            log.warning("a lease was not renewed", extra={"row": self.pk, "kind": self.model.__name__})
            connection.close()
            return None

    @property
    def _mine(self) -> models.QuerySet[Row]:
        return self.model._base_manager.filter(pk=self.pk, lease_token=self.token)

    def _checked(self, row: Row | None) -> Row:
        if row is None:
            raise LeaseLost
        return row
