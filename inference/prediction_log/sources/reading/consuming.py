"""The loop that reads a source until it is stopped, whatever happens to the broker and the database meanwhile."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.keys.secrets_at_rest import SecretUnreadable
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.ingest.row_budget import RowBudget
from inference.prediction_log.sources.dead_letters import DeadLettersFull
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.adapters import open_adapter
from inference.prediction_log.sources.reading.beat import Beat
from inference.prediction_log.sources.reading.messages import Adapter, StreamMessage
from inference.prediction_log.sources.reading.positions import Fenced, spans_of
from inference.prediction_log.sources.reading.storing import Stored, store_batch

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
MAX_PAUSE_SECONDS = 10.0
CALM_SECONDS = 60.0  # an adapter that read this long has no failures behind it

_AWAY = (OperationalError, InterfaceError)
_budget = RowBudget(lambda: settings.LOG_ROWS_PER_SECOND)

type Open = Callable[[Source], Adapter]


class SourceConsumption:
    """One consumer of one source. `run` reads until `stop` is set, or the source is paused, changed or deleted."""

    def __init__(
        self,
        source_id: int,
        stop: threading.Event,
        *,
        open_stream: Open = open_adapter,
        pause_seconds: float = 0.5,
    ) -> None:
        self._source_id, self._stop, self._open = source_id, stop, open_stream
        self._first_pause = pause_seconds
        self._beat = Beat(source_id)
        self.total = Stored()

    def run(self) -> None:
        """Read the source; returns once there is nothing for this consumer to read any more."""
        try:
            while not self._stop.is_set() and (source := self._find_source()) is not None:
                if not source.is_read:
                    return
                self._read(source)
        finally:
            self._beat.end()

    def _find_source(self) -> Source | None:
        """Return the source as it is now, waiting for the database; None where it was deleted."""
        pauses = _Pauses(self._stop, self._first_pause)
        while not self._stop.is_set():
            try:
                return find_source(self._source_id)
            except _AWAY:
                pauses.wait("the database is away; the source waits")
        return None

    def _read(self, source: Source) -> None:
        """Read by one adapter until it fails, or the source is another by now."""
        pauses = _Pauses(self._stop, self._first_pause)
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                with self._open(source) as adapter:
                    self._read_on(source, adapter)
                return
            except (ConnectorFailed, SecretUnreadable) as error:
                self._beat.renew("waiting", str(error))
            except _AWAY:
                log.warning("the database is away; the source waits", extra={"source": source.name})
            except Exception as error:  # the outermost edge of a thread: nobody else would say what happened
                if self._is_current(source):  # else it was deleted meanwhile, which fails in many ways
                    log.exception("a source could not be read", extra={"source": source.name})
                    self._beat.renew("waiting", _describe(error))
            if not self._is_current(source):
                return
            if time.monotonic() - began > CALM_SECONDS:
                pauses = _Pauses(self._stop, self._first_pause)
            pauses.wait("")

    def _read_on(self, source: Source, adapter: Adapter) -> None:
        while not self._stop.is_set():
            batch = adapter.poll(POLL_SECONDS)
            if batch and not self._store(source, adapter, batch):
                return
            if self._beat.is_due():
                self._beat.renew("waiting" if adapter.trouble else "running", adapter.trouble, adapter)
                if not self._is_current(source):
                    return

    def _store(self, source: Source, adapter: Adapter, batch: Sequence[StreamMessage]) -> bool:
        """Store a batch, however long it takes; False where it is not to be stored any more, for the source changed."""
        pauses = _Pauses(self._stop, self._first_pause)
        while True:
            try:
                _budget.check(source.project)
                stored = store_batch(source, batch, now=now())
            except Fenced:
                log.info("another consumer has stored these messages", extra={"source": source.name})
                adapter.resume()
                return True
            except _AWAY:
                pauses.wait("the database is away; the source waits")
            except (Problem, DeadLettersFull) as error:
                self._beat.renew("waiting", str(error), adapter)
                pauses.wait("")
            else:
                self._count(source, adapter, batch, stored)
                return True
            if self._stop.is_set() or not self._is_current(source):
                return False

    def _count(
        self, source: Source, adapter: Adapter, batch: Sequence[StreamMessage], stored: Stored
    ) -> None:
        self.total += stored
        self._beat.count(stored.rows)
        _budget.charge(source.project, len(batch))
        adapter.acknowledge({span.partition: span.next_offset for span in spans_of(batch)})

    def _is_current(self, source: Source) -> bool:
        """Return whether a source is still what it was; while the database is away nobody has changed it."""
        try:
            found = find_source(source.pk)
        except _AWAY:
            close_old_connections()
            return True
        if found is not None:
            source.project = found.project  # with the quota that it has by now
        return found is not None and found.is_read and found.generation == source.generation


def _describe(error: Exception) -> str:
    return f"Driftline could not read on ({type(error).__name__}) and tries again; its log says more."


def find_source(source_id: int) -> Source | None:
    """Return a source with its model and project; None where it was deleted."""
    return Source.objects.filter(pk=source_id).select_related("model", "project").first()


class _Pauses:
    """Pauses that grow from one to the next."""

    def __init__(self, stop: threading.Event, first_seconds: float) -> None:
        self._stop, self._seconds = stop, first_seconds

    def wait(self, warning: str) -> None:
        """Wait, or until the consumer is stopped."""
        if warning:
            log.warning(warning)
            close_old_connections()
        self._stop.wait(self._seconds)
        self._seconds = min(2 * self._seconds, MAX_PAUSE_SECONDS)
