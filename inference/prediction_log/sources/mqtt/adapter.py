"""Reads topics of MQTT in a session that the broker keeps, and acknowledges what is stored."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from inference.prediction_log.sources.models import SourcePosition
from inference.prediction_log.sources.mqtt.connection import MqttConnection, Received
from inference.prediction_log.sources.mqtt.settings import MqttSettings
from inference.prediction_log.sources.reading.leased_adapter import LeasedAdapter
from inference.prediction_log.sources.reading.messages import TOPIC_HEADER, StreamMessage
from inference.prediction_log.sources.reading.positions import begin_partition, set_notice

MAX_BATCH_BYTES = 8 << 20
STEP_SECONDS = 0.01  # to wait for more of a batch that has begun; a broker may send only twenty ahead
MAX_BATCH_SECONDS = 0.5


class MqttAdapter(LeasedAdapter):
    """Reads topics, while it holds the lease of its source; see `Adapter`. Offsets count messages as they come."""

    def __init__(
        self,
        source_id: int,
        settings: MqttSettings,
        secret: str,
        *,
        session: str,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        super().__init__(source_id)
        self._settings, self._secret, self._session, self._wait = settings, secret, session, wait
        self._partition = settings.partition()
        self._connection: MqttConnection | None = None
        self._next_offset = 0
        self._unacknowledged: deque[tuple[int, int]] = (
            deque()
        )  # the offset, and how the broker knows the message

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._unacknowledged.clear()

    def resume(self) -> None:
        """Leave what was not stored to the broker, which sends it again."""
        self._disconnect()

    def ends(self) -> Mapping[str, int]:
        """Return nothing: a broker does not say how many messages it keeps."""
        return {}

    def poll(self, timeout_seconds: float) -> Sequence[StreamMessage]:
        """Return the next messages: as many as the broker sends ahead, about `MAX_BATCH_BYTES`."""
        if not self._lease.hold():
            self.resume()
            self._wait(timeout_seconds)
            return []
        connection = self._connection or self._begin()
        batch: list[StreamMessage] = []
        size, wait = 0, timeout_seconds
        deadline = time.monotonic() + max(timeout_seconds, MAX_BATCH_SECONDS)
        while size < MAX_BATCH_BYTES and time.monotonic() < deadline:
            found = connection.read(wait)
            batch += map(self._number, found)
            size += sum(len(one.payload) for one in found)
            if batch and not found:
                break
            wait = STEP_SECONDS if batch else deadline - time.monotonic()
        return batch

    def acknowledge(self, next_offsets: Mapping[str, int]) -> None:
        """Acknowledge messages that are stored; the broker forgets them."""
        stored, behind = [], next_offsets.get(self._partition, 0)
        while self._unacknowledged and self._unacknowledged[0][0] < behind:
            stored.append(self._unacknowledged.popleft()[1])
        if self._connection is not None:
            self._connection.acknowledge(stored)

    def _begin(self) -> MqttConnection:
        before = SourcePosition.objects.filter(source_id=self._source_id).exclude(partition=self._partition)
        topics = {topic for one in before.values_list("partition", flat=True) for topic in one.split()}
        self._next_offset = begin_partition(self._source_id, self._partition, 1)
        self._connection = MqttConnection(
            self._settings,
            self._secret,
            session=self._session,
            no_more=sorted(topics.difference(self._settings.topics)),
        )
        if self._next_offset > 1 and not self._connection.had_session:
            notice = (
                "The broker has not kept the session of this source: messages that came meanwhile are lost."
            )
            set_notice(self._source_id, notice)
        return self._connection

    def _number(self, received: Received) -> StreamMessage:
        offset = self._next_offset
        self._next_offset += 1
        if received.acknowledged_by:
            self._unacknowledged.append((offset, received.acknowledged_by))
        return message_of(received, self._partition, offset)


def message_of(received: Received, partition: str, offset: int) -> StreamMessage:
    """Return a message; its key says whether it is one that came before, as the protocol has nothing for that."""
    content = hashlib.sha256(received.topic.encode() + b"\0" + received.payload)
    return StreamMessage(
        partition=partition,
        offset=offset,
        value=received.payload or None,
        key=content.hexdigest()[:32].encode(),
        time_us=time.time_ns() // 1_000,
        headers=received.properties | {TOPIC_HEADER: received.topic},
    )


def sample_topics(
    settings: MqttSettings, secret: str, *, messages: int, seconds: float
) -> list[StreamMessage]:
    """Read messages that come within so many seconds, and those that topics retain; raises ConnectorFailed."""
    deadline = time.monotonic() + seconds
    found: list[Received] = []
    with MqttConnection(settings, secret) as connection:
        while len(found) < messages and (left := deadline - time.monotonic()) > 0:
            found += connection.read(left)
    return [message_of(one, settings.partition(), place) for place, one in enumerate(found[:messages], 1)]
