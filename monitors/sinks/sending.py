"""The loop that sends the streams of one sink, whatever happens to the brokers and the database meanwhile.

One process at a time sends, by a lease in the sink's row. It is no fence: of two that send, as while one is stopped for
longer than its lease, both mark only what was acknowledged, so rows come twice and none is missing.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db import InterfaceError, OperationalError, close_old_connections, transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce, Now

from driftline.base.errors import Problem
from driftline.base.extras import KAFKA, require
from driftline.base.keys.secrets_at_rest import SecretUnreadable
from driftline.base.work.leased_work import shortened
from inference.connectors.failure import ConnectorFailed
from monitors.sinks.models import Sink, SinkStream
from monitors.sinks.selectors import secret_of, settings_of, streams_of
from monitors.sinks.streams.readers import READERS

if TYPE_CHECKING:
    from monitors.sinks.producer import SinkProducer

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 10.0
RATED_AFTER_SECONDS = 5.0
LEASE_SECONDS = 15.0
"""Longer than it takes to find out that no broker answers, or to write a batch."""
RENEWED_AFTER_SECONDS = 3.0
RETRIED_AFTER_SECONDS = 30.0
"""A stream that failed while the brokers answer: the others are sent meanwhile."""

DATABASE_ERRORS = (OperationalError, InterfaceError)

type Open = Callable[[Sink], "SinkProducer"]


def _open(sink: Sink) -> "SinkProducer":
    require(KAFKA)
    from monitors.sinks.producer import SinkProducer  # Kafka's library is loaded where it is used

    return SinkProducer(settings_of(sink), secret_of(sink))


class SinkSender:
    """What one process sends of one sink. `run` goes on until `stop` is set, or the lease is another's.

    It is nobody's where the sink was deleted.
    """

    def __init__(self, sink_id: int, stop: threading.Event, *, open_producer: Open = _open) -> None:
        self._id, self._stop, self._open = sink_id, stop, open_producer
        self._token, self._pause = uuid.uuid4(), IDLE_SECONDS
        self._renewed_at = float("-inf")
        self._may_be_failing = True  # as the process before this one
        self._rates: dict[int, _Rate] = {}
        self._failures: dict[int, _StreamFailure] = {}

    def run(self) -> None:
        """Send what waits."""
        try:
            while not self._stop.is_set():
                try:
                    if not self._hold():
                        return
                    self._send()
                except DATABASE_ERRORS:
                    log.warning("the database is away; the sink waits", extra={"sink": self._id})
                    close_old_connections()
                self._stop.wait(self._pause)
        finally:
            self._release()

    def _hold(self) -> bool:
        """Take or renew the lease; False where another process has it, or the sink was deleted."""
        asked_at = time.monotonic()
        if asked_at - self._renewed_at < RENEWED_AFTER_SECONDS:
            return True
        free = Q(sender=None) | Q(sender=self._token) | Q(sender_until__lt=Now())
        until = Now() + timedelta(seconds=LEASE_SECONDS)
        is_held = Sink.objects.filter(free, pk=self._id).update(sender=self._token, sender_until=until) > 0
        self._renewed_at = asked_at if is_held else float("-inf")
        return is_held

    def _release(self) -> None:
        try:
            Sink.objects.filter(pk=self._id, sender=self._token).update(sender=None, sender_until=None)
        except DATABASE_ERRORS:
            close_old_connections()

    def _send(self) -> None:
        """Send by one producer until it fails, or the sink is another by now; keeps why it failed."""
        sink = Sink.objects.select_related("project").filter(pk=self._id).first()
        if sink is None:
            return
        try:
            with self._open(sink) as producer:  # looks for a broker first: nothing is read while none answers
                self._send_streams(sink, producer)
        except DATABASE_ERRORS:
            raise
        except Exception as error:  # the outermost edge of a thread: nobody else would say what happened
            self._note_failing(self._describe(error, "all streams"))
            self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS)

    def _send_streams(self, sink: Sink, producer: "SinkProducer") -> None:
        while not self._stop.is_set() and self._is_current(sink) and self._hold():
            streams = streams_of(sink)
            has_sent = [
                self._try_stream(sink, stream, producer) for stream in streams if self._is_due(stream)
            ]
            self._note_streams({stream.pk for stream in streams})
            if not producer.is_usable:
                return
            producer.poll()
            if not any(has_sent):
                self._stop.wait(IDLE_SECONDS)

    def _is_due(self, stream: SinkStream) -> bool:
        failure = self._failures.get(stream.pk)
        return failure is None or time.monotonic() >= failure.retry_at

    def _try_stream(self, sink: Sink, stream: SinkStream, producer: "SinkProducer") -> bool:
        """Send one batch of a stream; where that fails the reason is kept, and the other streams are sent."""
        if not producer.is_usable:
            return False
        try:
            has_sent = self._send_some(sink, stream, producer)
        except DATABASE_ERRORS:
            raise
        except Exception as error:
            retry_at = time.monotonic() + RETRIED_AFTER_SECONDS
            self._failures[stream.pk] = _StreamFailure(self._describe(error, stream.kind), retry_at)
            return False
        self._failures.pop(stream.pk, None)
        return has_sent

    def _describe(self, error: Exception, kind: str) -> str:
        """Return why a stream, or all of them, cannot be sent."""
        if isinstance(error, (ConnectorFailed, SecretUnreadable)):
            return str(error)
        if isinstance(error, Problem):
            return f"{kind}: {error.detail}"
        log.error("a sink could not send", extra={"sink": self._id, "kind": kind}, exc_info=error)
        return f"{kind}: Driftline could not send ({type(error).__name__}); its log says more."

    def _send_some(self, sink: Sink, stream: SinkStream, producer: "SinkProducer") -> bool:
        """Send one batch of a stream and mark it as sent; False where nothing waits."""
        rate = self._rates.setdefault(stream.pk, _Rate())
        batch = READERS[stream.kind].next_batch(stream)
        if batch is not None:
            if not self._is_current(sink):  # nothing more goes to brokers that were replaced meanwhile
                return False
            sent = producer.send(stream.kind, batch.messages, self._hold)
            rate.rows += sent
            with transaction.atomic():
                lost = batch.finish()
                own = SinkStream.objects.filter(pk=stream.pk)
                own.update(sent=F("sent") + sent, lost=F("lost") + lost, sent_at=Now())
        if rate.is_due():
            SinkStream.objects.filter(pk=stream.pk).update(rows_per_second=rate.restart(), rated_at=Now())
        return batch is not None

    def _is_current(self, sink: Sink) -> bool:
        return Sink.objects.filter(pk=sink.pk, generation=sink.generation).exists()

    def _note_streams(self, streams: set[int]) -> None:
        """Keep why streams fail, or forget that any did once a batch of each was acknowledged."""
        self._failures = {pk: failure for pk, failure in self._failures.items() if pk in streams}
        if self._failures:
            self._note_failing(" ".join(failure.reason for failure in self._failures.values()))
        elif self._may_be_failing:
            Sink.objects.filter(pk=self._id).exclude(failing_since=None).update(error="", failing_since=None)
            self._may_be_failing = False
        self._pause = IDLE_SECONDS

    def _note_failing(self, reason: str) -> None:
        """Keep why something cannot be sent, and since when."""
        self._may_be_failing = True
        Sink.objects.filter(pk=self._id).exclude(error=shortened(reason), failing_since__isnull=False).update(
            error=shortened(reason), failing_since=Coalesce("failing_since", Now())
        )


class _StreamFailure(NamedTuple):
    """Why a stream could not be sent, and when it is tried again, by the monotonic clock."""

    reason: str
    retry_at: float


class _Rate:
    """Rows that were sent since the rate was last written."""

    def __init__(self) -> None:
        self.rows, self._since = 0, time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() - self._since >= RATED_AFTER_SECONDS

    def restart(self) -> float:
        """Return rows a second, and begin anew."""
        seconds = time.monotonic() - self._since
        rate = self.rows / max(seconds, 1e-3)
        self.rows, self._since = 0, time.monotonic()
        return rate
