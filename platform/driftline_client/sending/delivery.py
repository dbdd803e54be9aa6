"""Send items in batches from a thread of its own: the application never waits for Driftline."""

import atexit
import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from driftline_client.errors import DriftlineError, NotQueued
from driftline_client.sending.forks import call_after_fork
from driftline_client.sending.queues import Batch, Lose, MemoryQueue, Queue
from driftline_client.sending.transport import MENDABLE, Backoff, Courier, Reply, Stream

logger = logging.getLogger("driftline_client")

JOIN_SECONDS = 1.0


@dataclass(frozen=True)
class Delivery:
    """How items are gathered and sent; times in seconds, sizes in bytes.

    Retries go on until the server takes the batch: meanwhile the queue fills, and what finds it full is dropped
    and counted. Predictions and labels do not wait for each other. Sending an item again is harmless, as its id is
    kept once.
    """

    batch_size: int = 500
    wait_s: float = 1.0
    queue_size: int = 10_000
    queue_bytes: int = 64 << 20
    timeout_s: float = 10.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 30.0
    exit_s: float = 5.0
    """How long the end of the process may wait for what is queued."""
    folder: str | Path | None = None
    """Where items wait instead of in memory, so that they survive the process, also `kill -9`.

    Processes may share it. What they leave behind is sent by the next that opens the same model of the same server.
    """
    folder_bytes: int = 256 << 20
    """How much of the disk a process may fill."""


@dataclass(frozen=True)
class Counts:
    """What became of the items: `rejected` by the server, `dropped` here. `reasons` counts both by what was wrong."""

    sent: int = 0
    rejected: int = 0
    dropped: int = 0
    queued: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass
class _Pause:
    """Until when a stream waits that the server did not take; a flush ends it, unless the server `asked` for it."""

    backoff: Backoff
    until: float = 0.0
    is_asked: bool = False


T = TypeVar("T")
OpenQueue = Callable[[Lose], Queue]


def queue_opener(delivery: Delivery, url: str, model: str) -> OpenQueue:
    """Choose where items wait: in memory, or in a folder. The opener takes a function that counts lost items."""
    if delivery.folder is None:
        return lambda lose: MemoryQueue(delivery.queue_size, delivery.queue_bytes)
    try:
        from driftline_client.sending.disk_queue import DiskQueue, make_folder
    except ImportError as error:
        raise DriftlineError(
            "A folder for items needs POSIX file locks, which this system lacks; leave Delivery(folder=...) out."
        ) from error
    folder, max_bytes = Path(delivery.folder), delivery.folder_bytes
    make_folder(folder)
    return lambda lose: DiskQueue(folder, url=url, model=model, max_bytes=max_bytes, lose=lose)


class Sender:
    """A queue and the thread that empties it. Safe for threads and for fork: a child process starts empty."""

    def __init__(
        self, open_courier: Callable[[], Courier], open_queue: OpenQueue, delivery: Delivery
    ) -> None:
        self._open_courier = open_courier
        self._open_queue = open_queue
        self._delivery = delivery
        self._begin()
        call_after_fork(self._begin_in_child)
        if self._queue.survives:
            with self._changed, contextlib.suppress(OSError):  # the thread will say it, and try again
                self._queue.refill()
            with self._changed:
                self._start()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._queue = self._open_queue(self.drop)
        self._pauses: dict[Stream, _Pause] = {}
        self._in_flight = 0
        self._hurried = 0
        self._flushes = 0
        self._closed = False
        self._sent = 0
        self._rejected: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._thread: threading.Thread | None = None

    def _begin_in_child(self) -> None:
        """Leave the thread, the connections and what is queued to the parent.

        Its lock may be held here for ever, by a thread that was not forked, so nothing may fail before there is a new
        one. Where the folder is gone, `put` makes it, or says why it cannot.
        """
        inherited = self._queue
        self._begin()
        inherited.close()

    def put(self, stream: Stream, line: bytes) -> None:
        """Queue an item; raises NotQueued where that is not possible."""
        with self._changed:
            if self._closed:
                raise NotQueued(
                    "closed", "This model is closed; make a new one with driftline_client.model()."
                )
            self._start()
            self._queue.put(stream, line)
            if self._ready() in (1, self._delivery.batch_size):
                self._changed.notify_all()

    def drop(self, reason: str, count: int = 1) -> int:
        """Count items that are lost; returns how many there are by now."""
        with self._changed:
            self._dropped[reason] += count
            return self._dropped.total()

    def counts(self) -> Counts:
        """Return what became of the items so far."""
        with self._changed:
            return Counts(
                sent=self._sent,
                rejected=self._rejected.total(),
                dropped=self._dropped.total(),
                queued=self._queue.waiting + self._in_flight,
                reasons=dict(self._rejected + self._dropped),
            )

    def flush(self, timeout: float | None = None) -> bool:
        """Send what is queued without waiting for more; True when all of it was answered in time."""
        with self._changed:
            self._hurried += 1
            self._flushes += 1
            for pause in self._pauses.values():
                if not pause.is_asked:
                    pause.until = 0.0
            self._changed.notify_all()
            try:
                return self._changed.wait_for(
                    lambda: not self._queue.waiting and not self._in_flight, timeout
                )
            finally:
                self._hurried -= 1

    def close(self, timeout: float | None) -> bool:
        """Flush, then stop the thread."""
        flushed = self.flush(timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)
        atexit.unregister(self._finish)
        return flushed

    def _start(self) -> None:
        """Start the thread, and make the end of the process wait for it."""
        if self._thread is not None:
            return
        thread = threading.Thread(target=self._run, name="driftline-client", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if self._queue.survives:
                return  # another process will send it
            raise NotQueued("no_thread", f"No thread can be started to send from ({error}).") from error
        self._thread = thread
        atexit.unregister(self._finish)  # a parent's entry, which not every kind of child process keeps
        atexit.register(self._finish)

    def _finish(self) -> None:
        if self.flush(self._delivery.exit_s):
            return
        queued = self.counts().queued
        if self._queue.survives:
            logger.info("%d items wait in %s for the next process.", queued, self._delivery.folder)
        else:
            logger.warning("%d items were not sent to Driftline before the end.", queued)

    def _run(self) -> None:
        if courier := self._patiently(self._open_courier):
            with courier:
                self._send_all(courier)
        with self._changed:
            self._queue.close()

    def _send_all(self, courier: Courier) -> None:
        while batch := self._patiently(self._take):
            try:
                self._deliver(courier, batch)
            except Exception:
                logger.exception("Items could not be sent to Driftline.")
                self._settle(batch, dropped=Counter(client_error=len(batch.lines)))

    def _patiently(self, act: Callable[[], T]) -> T | None:
        """Do what needs files, also where they cannot be read for a while, as when too many are open."""
        backoff = Backoff(self._delivery.first_retry_s, self._delivery.longest_retry_s)
        while True:
            try:
                return act()
            except OSError:
                logger.exception("A file that is needed to send items cannot be read; trying again.")
            with self._changed:
                if self._changed.wait_for(lambda: self._closed, backoff.next_s(0.0)):
                    return None

    def _take(self) -> Batch | None:
        """Wait for a full batch, a second, or a flush; None at the end."""
        with self._changed:
            while self._wait_for_items():
                if batch := self._queue.take(self._delivery.batch_size, self._paused()):
                    self._in_flight = len(batch.lines)
                    return batch
                self._changed.notify_all()  # nothing of what waited could be read
            return None

    def _wait_for_items(self) -> bool:
        look_again_s = self._queue.refill()
        while not self._ready() and not self._closed:
            self._changed.wait(self._shortest_wait_s(look_again_s))
            look_again_s = self._queue.refill()
        self._changed.wait_for(self._is_time, self._delivery.wait_s)
        return bool(self._queue.waiting) and not (self._closed and self._queue.survives)

    def _is_time(self) -> bool:
        """Return whether to send what is ready: what was sent before has waited already."""
        is_again = any(self._queue.waiting_in(stream) for stream in self._pauses.keys() - self._paused())
        return is_again or self._ready() >= self._delivery.batch_size or self._hurried > 0 or self._closed

    def _ready(self) -> int:
        """Count what may be sent now."""
        return self._queue.waiting - sum(map(self._queue.waiting_in, self._paused()))

    def _paused(self) -> set[Stream]:
        """Name the streams that the server did not take, until their next attempt; a close does not wait for it."""
        if self._closed or not self._pauses:
            return set()
        now = time.monotonic()
        return {stream for stream, pause in self._pauses.items() if pause.until > now}

    def _shortest_wait_s(self, look_again_s: float | None) -> float | None:
        now = time.monotonic()
        waits = [
            max(pause.until - now, 0.0)
            for stream, pause in self._pauses.items()
            if self._queue.waiting_in(stream)
        ]
        return min(waits if look_again_s is None else [*waits, look_again_s], default=None)

    def _deliver(self, courier: Courier, batch: Batch) -> None:
        """Send a batch; what the server does not take now waits for its stream's next turn."""
        seen = self._flushes
        reply = courier.post(batch.stream, batch.lines)
        if not self._is_worth_another(reply):
            self._record(reply, batch)
            return
        logger.warning("Driftline did not take %d items (%s); trying again.", len(batch.lines), reply.detail)
        self._give_back(batch, reply.retry_after_s, seen)

    def _is_worth_another(self, reply: Reply) -> bool:
        """What survives the process can wait until a person has mended the token or the address."""
        return reply.may_pass or (self._queue.survives and reply.status in MENDABLE)

    def _record(self, reply: Reply, batch: Batch) -> None:
        count = len(batch.lines)
        if not reply.is_kept:
            logger.error("Driftline refused %d items: %s", count, reply.detail)
            self._settle(batch, rejected=Counter({reply.code: count}))
            return
        faults = [result.get("error") or result for result in reply.refusals]
        if faults:
            logger.error("Driftline refused %d of %d items, first: %s", len(faults), count, faults[0])
        codes = Counter(str(fault.get("code") or fault.get("status")) for fault in faults)
        self._settle(batch, sent=count - len(faults), rejected=codes)

    def _give_back(self, batch: Batch, asked_s: float, seen: int) -> None:
        """Pass the turn to the other streams, and pause this one unless there was a flush beyond those `seen`."""
        with self._changed:
            self._in_flight = 0
            if self._closed and not self._queue.survives:
                self.drop("closed", len(batch.lines))
            else:
                self._queue.give_back(batch)
                self._pause(batch.stream, asked_s, is_hurried=self._flushes > seen)
            self._changed.notify_all()

    def _pause(self, stream: Stream, asked_s: float, *, is_hurried: bool) -> None:
        if stream not in self._pauses:
            self._pauses[stream] = _Pause(
                Backoff(self._delivery.first_retry_s, self._delivery.longest_retry_s)
            )
        pause = self._pauses[stream]
        pause.is_asked = asked_s > 0
        wait_s = pause.backoff.next_s(asked_s)
        pause.until = 0.0 if is_hurried and not pause.is_asked else time.monotonic() + wait_s

    def _settle(
        self,
        batch: Batch,
        *,
        sent: int = 0,
        rejected: Counter[str] | None = None,
        dropped: Counter[str] | None = None,
    ) -> None:
        """Forget a batch and count what became of it."""
        with self._changed:
            self._queue.done(batch)
            self._pauses.pop(batch.stream, None)
            self._in_flight = 0
            self._sent += sent
            self._rejected.update(rejected or {})
            self._dropped.update(dropped or {})
            self._changed.notify_all()
