"""Reads a stream of JetStream on behind its last message that is stored."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from inference.prediction_log.sources.nats.connection import NatsConnection, StreamState
from inference.prediction_log.sources.nats.settings import NatsSettings
from inference.prediction_log.sources.reading.leased_adapter import LeasedAdapter
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.positions import (
    begin_partition,
    read_positions,
    rewind_partition,
    set_notice,
)

MAX_BATCH = 10_000
MAX_BATCH_BYTES = 8 << 20
STEP_SECONDS = 0.05  # to wait for more of a batch that has begun
COUNT_SECONDS = 2.0
MAX_LOOKED_AT = 1_000  # messages of which a preview shows the newest


class NatsAdapter(LeasedAdapter):
    """Reads one stream, while it holds the lease of its source; see `Adapter`. Offsets are the stream's sequences."""

    def __init__(
        self,
        source_id: int,
        settings: NatsSettings,
        secret: str,
        *,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(source_id)
        self._settings, self._wait = settings, wait
        self._partition = settings.partition()
        self._is_reading = False
        self._next_offset, self._end = 0, 0
        self._count_at = float("-inf")
        self._connection = NatsConnection(settings, secret)

    def _disconnect(self) -> None:
        self._connection.close()

    def resume(self) -> None:
        """Read on at the place in the table of positions."""
        self._is_reading = False

    def ends(self) -> Mapping[str, int]:
        """Return where the stream would end if the messages of the subject that wait followed each other."""
        return {self._partition: self._end} if self._is_reading else {}

    def poll(self, timeout_seconds: float) -> Sequence[StreamMessage]:
        """Return the next messages: at most `MAX_BATCH`, about `MAX_BATCH_BYTES`."""
        if not self._lease.hold():
            self.resume()
            self._wait(timeout_seconds)
            return []
        if not self._is_reading:
            self._begin()
        batch: list[StreamMessage] = []
        size, wait = 0, timeout_seconds
        deadline = time.monotonic() + timeout_seconds
        while len(batch) < MAX_BATCH and size < MAX_BATCH_BYTES:
            found = self._connection.fetch(wait)
            batch += found
            size += sum(one.size_bytes for one in found)
            wait = STEP_SECONDS
            if not found or time.monotonic() >= deadline:
                break
        if batch:
            self._next_offset = batch[-1].offset + 1
        self._count()
        return batch

    def _count(self) -> None:
        if time.monotonic() >= self._count_at:
            self._count_at = time.monotonic() + COUNT_SECONDS
            self._end = self._next_offset + self._connection.pending()

    def _begin(self) -> None:
        state = self._connection.state()
        offset = read_positions(self._source_id, [self._partition]).get(self._partition)
        if offset is None:
            begin = state.first if self._settings.start == "earliest" else state.last + 1
            offset = begin_partition(self._source_id, self._partition, max(begin, 1))
        else:
            offset = self._check_place(state, offset)
        self._connection.read_from(offset)
        self._next_offset, self._is_reading = offset, True
        self._count_at = float("-inf")

    def _check_place(self, state: StreamState, offset: int) -> int:
        """Return where a stream is read on that may have lost its beginning, or may be another by now, and say so."""
        first, name = max(state.first, 1), self._settings.stream
        if offset > state.last + 1:
            notice = f"{name} was read to {offset:,} and ends at {state.last:,} now, for it was made anew"
            if not rewind_partition(self._source_id, self._partition, before=offset, to=first):
                return read_positions(self._source_id, [self._partition]).get(self._partition, first)
        elif offset < first:
            notice = f"Up to {first - offset:,} messages of {name} were deleted before they were read"
        else:
            return offset
        set_notice(self._source_id, f"{notice}; reading goes on at the earliest message, {first:,}.")
        return first


def sample_stream(
    settings: NatsSettings, secret: str, *, messages: int, seconds: float
) -> list[StreamMessage]:
    """Read the newest messages of a stream for a person, within about so many seconds; raises ConnectorFailed.

    Of a subject they are those among the last thousand of the stream.
    """
    deadline = time.monotonic() + seconds
    found: deque[StreamMessage] = deque(maxlen=messages)
    with NatsConnection(settings, secret) as connection:
        state = connection.state()
        looked_at = MAX_LOOKED_AT if settings.subject else messages
        connection.read_from(max(state.first, state.last - looked_at + 1))
        while state.last and (left := deadline - time.monotonic()) > 0:
            read = connection.fetch(min(left, 0.5))
            found += read
            if not read or read[-1].offset >= state.last:
                break
    return list(found)
