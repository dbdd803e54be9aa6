"""Allows one consumer at a time to read a source of a kind that has no partitions; the positions fence who is late."""

import logging
import threading
import time
import uuid
from datetime import timedelta

from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.db.models.functions import Now

from inference.prediction_log.sources.models import SourceReader

log = logging.getLogger(__name__)

LEASE_SECONDS = 10.0
RENEWED_AFTER_SECONDS = 2.0


class _Renewal:
    """Renews the leases of this process by one thread, as a reader may be at one step for longer than a lease.

    The thread lives as long as there are leases.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._tokens: set[uuid.UUID] = set()
        self._thread: threading.Thread | None = None

    def add(self, token: uuid.UUID) -> None:
        """Renew a lease until it is removed."""
        with self._changed:
            self._tokens.add(token)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="source leases", daemon=True)
                self._thread.start()

    def remove(self, token: uuid.UUID) -> None:
        """Renew a lease no more."""
        with self._changed:
            self._tokens.discard(token)
            self._changed.notify()

    def end(self) -> None:
        """Renew nothing more, and wait until the thread has ended."""
        with self._changed:
            self._tokens.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while tokens := self._next():
            try:
                SourceReader.objects.filter(token__in=tokens).update(
                    until=Now() + timedelta(seconds=LEASE_SECONDS)
                )
            except Exception:  # the outermost edge of a thread on which all leases depend
                log.warning("the leases of sources could not be renewed just now", exc_info=True)
            finally:
                connection.close()

    def _next(self) -> list[uuid.UUID]:
        """Wait until leases are to be renewed, and return them; none ends the thread."""
        with self._changed:
            self._changed.wait_for(lambda: not self._tokens, RENEWED_AFTER_SECONDS)
            if not self._tokens:
                self._thread = None
            return list(self._tokens)


renewal = _Renewal()


class ReaderLease:
    """The right to read one source, which ends by itself where its consumer is killed."""

    def __init__(self, source_id: int) -> None:
        self._source_id, self._token = source_id, uuid.uuid4()
        self._renewed_at = float("-inf")

    def hold(self) -> bool:
        """Take or renew the lease; False while another consumer has it. Raises errors of the database."""
        if time.monotonic() - self._renewed_at < RENEWED_AFTER_SECONDS:
            return True
        asked_at = time.monotonic()
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO inference_sourcereader AS held (source_id, token, until) "
                "VALUES (%s, %s, now() + make_interval(secs => %s)) "
                "ON CONFLICT (source_id) DO UPDATE SET token = excluded.token, until = excluded.until "
                "WHERE held.token = excluded.token OR held.until < now()",
                [self._source_id, self._token, LEASE_SECONDS],
            )
            is_held = cursor.rowcount > 0
        self._renewed_at = asked_at if is_held else float("-inf")
        if is_held:
            renewal.add(self._token)
        return is_held

    def release(self) -> None:
        """Release the source to another consumer at once; without a database, that waits until the lease has ended."""
        self._renewed_at = float("-inf")
        renewal.remove(self._token)
        try:
            SourceReader.objects.filter(source=self._source_id, token=self._token).delete()
        except (DatabaseError, InterfaceError):
            close_old_connections()
