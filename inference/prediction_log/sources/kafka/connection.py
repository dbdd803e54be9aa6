"""Opens a consumer of topics, and reads what comes over it."""

from collections.abc import Callable
from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError
from confluent_kafka import Message as KafkaMessage

from inference.connectors.kafka.connection import open_client
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.reading.messages import StreamMessage, plausible_time

MAX_BATCH_BYTES = 8 << 20
MAX_POLL_MS = 300_000  # a member that does not poll for so long loses its place in the group
MAX_AHEAD_KIB = 16 << 10  # that librdkafka reads ahead


def open_consumer(
    settings: KafkaSettings,
    secret: str,
    group: str,
    *,
    on_error: Callable[[KafkaError], None],
    on_statistics: Callable[[str], None],
) -> Consumer:
    configuration: dict[str, Any] = {
        "group.id": group,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # a position outside the topic is said, never silently moved
        "isolation.level": "read_committed",
        "partition.assignment.strategy": "cooperative-sticky",
        "allow.auto.create.topics": False,
        "session.timeout.ms": 6_000,  # brokers take no less
        "heartbeat.interval.ms": 2_000,
        "max.poll.interval.ms": MAX_POLL_MS,
        "queued.max.messages.kbytes": MAX_AHEAD_KIB,
        "fetch.max.bytes": MAX_BATCH_BYTES,
        "error_cb": on_error,
        "stats_cb": on_statistics,
    }
    return open_client(Consumer, settings, secret, configuration)


def message_of(read: KafkaMessage) -> StreamMessage:
    kind, milliseconds = read.timestamp()
    offset, headers = read.offset(), read.headers()
    assert offset is not None  # as of every message without an error
    return StreamMessage(
        partition=f"{read.topic()}/{read.partition()}",
        offset=offset,
        value=read.value(),
        key=read.key(),
        time_us=None if kind == TIMESTAMP_NOT_AVAILABLE else plausible_time(milliseconds * 1000),
        headers=_text_of(headers) if headers else {},
    )


def _text_of(headers: Any) -> dict[str, str]:
    return {name: (value or b"").decode(errors="replace") for name, value in headers}
