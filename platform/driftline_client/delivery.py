"""Send items in batches from a thread of its own: the application never waits for Driftline."""

import atexit
import json
import logging
import os
import random
import threading
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx

from driftline_client.errors import DriftlineError
from driftline_client.items import Item, rfc3339

logger = logging.getLogger("driftline_client")

RETRYABLE = (429, 502, 503, 504)
LONGEST_RETRY_AFTER_S = 300.0


@dataclass(frozen=True)
class Delivery:
    """How items are gathered and sent; times in seconds.

    Retries go on until the server takes the batch: meanwhile the queue fills, and what finds it full is dropped
    and counted. Sending an item again is harmless, as its id is kept once.
    """

    batch_size: int = 500
    wait_s: float = 1.0
    queue_size: int = 10_000
    timeout_s: float = 10.0
    first_retry_s: float = 0.5
    longest_retry_s: float = 30.0
    exit_s: float = 5.0
    """How long the end of the process may wait for what is queued."""


@dataclass(frozen=True)
class Counts:
    """What became of the items: `rejected` by the server, `dropped` here (queue full, or not sendable)."""

    sent: int = 0
    rejected: int = 0
    dropped: int = 0
    queued: int = 0


class Sender:
    """A bounded queue of (path, key, item) and the thread that empties it. Safe for threads and for fork."""

    def __init__(self, client: "ClientFactory", delivery: Delivery) -> None:
        self._new_client = client
        self._delivery = delivery
        self._begin()
        os.register_at_fork(after_in_child=self._begin)
        atexit.register(self._finish)

    def _begin(self) -> None:
        """Start empty; a child process starts again, for the thread and the connections are its parent's."""
        self._changed = threading.Condition()
        self._queue: deque[tuple[str, str, Item]] = deque()
        self._in_flight = 0
        self._hurried = 0
        self._closed = False
        self._counts = Counts()
        self._thread: threading.Thread | None = None

    def put(self, path: str, key: str, item: Item) -> None:
        """Queue an item for `path`, where it is sent in a list called `key`; raises when the queue is full."""
        with self._changed:
            if self._closed:
                raise DriftlineError("This model is closed; make a new one with driftline_client.model().")
            if len(self._queue) >= self._delivery.queue_size:
                raise DriftlineError(
                    f"The queue holds {len(self._queue):,} items that Driftline has not taken; is it reachable?"
                )
            self._queue.append((path, key, item))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="driftline-client", daemon=True)
                self._thread.start()
            if len(self._queue) in (1, self._delivery.batch_size):
                self._changed.notify_all()

    def drop(self) -> int:
        """Count an item that was not queued; returns how many there are by now."""
        with self._changed:
            self._counts = replace(self._counts, dropped=self._counts.dropped + 1)
            return self._counts.dropped

    def counts(self) -> Counts:
        """Say what became of the items so far."""
        with self._changed:
            return replace(self._counts, queued=len(self._queue) + self._in_flight)

    def flush(self, timeout: float | None = None) -> bool:
        """Send what is queued without waiting for more; True when all of it was answered in time."""
        with self._changed:
            self._hurried += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._queue and not self._in_flight, timeout)
            finally:
                self._hurried -= 1

    def close(self, timeout: float | None) -> bool:
        """Flush, then stop the thread."""
        flushed = self.flush(timeout)
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        atexit.unregister(self._finish)
        return flushed

    def _finish(self) -> None:
        if not self.flush(self._delivery.exit_s):
            logger.warning("%d items were not sent to Driftline before the end.", self.counts().queued)

    def _run(self) -> None:
        with self._new_client() as client:
            while batch := self._take():
                path, key, items = batch
                self._deliver(client, path, key, items)
                with self._changed:
                    self._in_flight = 0
                    self._changed.notify_all()

    def _take(self) -> tuple[str, str, list[Item]] | None:
        """Wait for a full batch, a second, or a flush; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            self._changed.wait_for(
                lambda: len(self._queue) >= self._delivery.batch_size or self._hurried or self._closed,
                self._delivery.wait_s,
            )
            if not self._queue:
                return None
            path, key, _ = self._queue[0]
            items: list[Item] = []
            while self._queue and self._queue[0][0] == path and len(items) < self._delivery.batch_size:
                items.append(self._queue.popleft()[2])
            self._in_flight = len(items)
            return path, key, items

    def _deliver(self, client: httpx.Client, path: str, key: str, items: list[Item]) -> None:
        """Send until the server takes or refuses the batch, or the model is closed."""
        delay = self._delivery.first_retry_s
        while True:
            response, reason = _post(client, path, key, items)
            if response is not None and response.status_code not in RETRYABLE:
                self._record(response, items)
                return
            logger.warning("Driftline did not take %d items (%s); trying again.", len(items), reason)
            if self._sleep(max(delay * random.uniform(0.5, 1), _retry_after(response))):
                self._count(dropped=len(items))
                return
            delay = min(delay * 2, self._delivery.longest_retry_s)

    def _sleep(self, seconds: float) -> bool:
        """Wait, and tell whether the model was closed meanwhile."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds)

    def _record(self, response: httpx.Response, items: list[Item]) -> None:
        if not response.is_success:
            logger.error("Driftline refused %d items: %s", len(items), problem(response))
            self._count(rejected=len(items))
            return
        answer = _json_object(response)
        rejected = int(answer.get("rejected", 0))
        if rejected:
            faults = [result["error"] for result in answer.get("results", []) if result.get("error")]
            logger.error("Driftline refused %d of %d items, first: %s", rejected, len(items), faults[:1])
        self._count(sent=len(items) - rejected, rejected=rejected)

    def _count(self, *, sent: int = 0, rejected: int = 0, dropped: int = 0) -> None:
        with self._changed:
            now = self._counts
            self._counts = Counts(now.sent + sent, now.rejected + rejected, now.dropped + dropped)


class ClientFactory:
    """Makes HTTP clients that know the address and the token."""

    def __init__(self, url: str, token: str, timeout_s: float) -> None:
        self._url, self._token, self._timeout_s = url, token, timeout_s

    def __call__(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self._token}"}
        return httpx.Client(base_url=self._url, headers=headers, timeout=self._timeout_s)


def problem(response: httpx.Response) -> str:
    """Say what an error answer says: problem details, the inference protocol's shape, or plain text."""
    answer = _json_object(response)
    detail = answer.get("detail") or answer.get("error") or response.text[:200]
    return f"HTTP {response.status_code}: {detail}"


def _post(client: httpx.Client, path: str, key: str, items: list[Item]) -> tuple[httpx.Response | None, str]:
    body = json.dumps({key: items, "sent_at": rfc3339(datetime.now(UTC))}, allow_nan=False)
    try:
        response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    except httpx.TransportError as error:
        return None, f"{type(error).__name__}: {error}"
    return response, problem(response)


def _retry_after(response: httpx.Response | None) -> float:
    """Read how many seconds the server asks for; 0 where it does not say, or gives a date."""
    try:
        seconds = float(response.headers["Retry-After"]) if response is not None else 0.0
    except (KeyError, ValueError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


def _json_object(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
