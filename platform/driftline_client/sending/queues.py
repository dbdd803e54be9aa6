"""What waits to be sent, in the memory of the process: bounded in items and in bytes."""

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from driftline_client.errors import NotQueued
from driftline_client.sending.transport import MAX_BATCH_BYTES, Stream

Lose = Callable[[str, int], object]
"""Counts items that are lost under a reason."""


@dataclass(frozen=True)
class Batch:
    """Items of one stream to send together; `mark` is the queue's own note of where they are."""

    stream: Stream
    lines: list[bytes]
    mark: Any = None


class Queue(Protocol):
    """Items that wait, a queue for each stream. The sender calls it from one thread at a time.

    A queue of its own for each stream lets an application log and label in turn, and still send both in batches.
    """

    survives: bool
    """Whether what waits is still there after the process has ended."""

    @property
    def waiting(self) -> int:
        """How many items were not taken yet."""

    def put(self, stream: Stream, line: bytes) -> None:
        """Add an item; raises NotQueued where there is no room."""

    def refill(self) -> float | None:
        """Take over what others left behind; tells after how many seconds to look again, None for never."""

    def waiting_in(self, stream: Stream) -> int:
        """Count those of one stream."""

    def take(self, limit: int, paused: Collection[Stream] = ()) -> Batch | None:
        """Return items to send, at most `limit` and MAX_BATCH_BYTES of them, from each stream in turn not `paused`."""

    def done(self, batch: Batch) -> None:
        """Forget a batch: the server has it or will never take it."""

    def give_back(self, batch: Batch) -> None:
        """Make a batch that the server did not take wait again, before what came after it."""

    def close(self) -> None:
        """Release what the queue holds open."""


class MemoryQueue:
    """A Queue that ends with the process."""

    survives = False

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._max_items, self._max_bytes = max_items, max_bytes
        self._streams: dict[Stream, deque[bytes]] = {}
        self._bytes = 0
        self.waiting = 0

    def put(self, stream: Stream, line: bytes) -> None:
        if self.waiting >= self._max_items or self._bytes + len(line) > self._max_bytes:
            raise NotQueued(
                "queue_full",
                f"The queue holds {self.waiting:,} items ({self._bytes:,} bytes) that Driftline has not taken; "
                "is it reachable?",
            )
        self._streams.setdefault(stream, deque()).append(line)
        self.waiting += 1
        self._bytes += len(line)

    def refill(self) -> None:
        return None

    def waiting_in(self, stream: Stream) -> int:
        return len(self._streams.get(stream, ()))

    def take(self, limit: int, paused: Collection[Stream] = ()) -> Batch | None:
        stream = next((stream for stream in self._streams if stream not in paused), None)
        if stream is None:
            return None
        queue = self._streams.pop(stream)
        lines: list[bytes] = []
        size = 0
        while queue and len(lines) < limit and size + len(queue[0]) <= MAX_BATCH_BYTES:
            lines.append(queue.popleft())
            size += len(lines[-1])
        if queue:
            self._streams[stream] = queue  # behind the others, so that none waits for ever
        self.waiting -= len(lines)
        self._bytes -= size
        return Batch(stream, lines)

    def done(self, batch: Batch) -> None:
        pass

    def give_back(self, batch: Batch) -> None:
        self._streams.setdefault(batch.stream, deque()).extendleft(reversed(batch.lines))
        self.waiting += len(batch.lines)
        self._bytes += sum(map(len, batch.lines))

    def close(self) -> None:
        pass
