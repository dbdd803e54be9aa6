"""Sends messages to brokers that may be called, and returns once they have acknowledged all of them."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Self

import orjson
from confluent_kafka import KafkaError, KafkaException, Producer

from inference.connectors.failure import ConnectorFailed
from inference.connectors.kafka.connection import (
    check_cluster,
    describe_failure,
    find_blocked,
    open_client,
)
from monitors.sinks.settings import SinkSettings
from monitors.sinks.streams.stream import SinkMessage

ANSWER_SECONDS = 10.0
WAIT_SECONDS = 1.0
DELIVERY_SECONDS = 30.0
"""Brokers that have not acknowledged a message for so long are away; what they have of it is a double later."""
MAX_QUEUED_KIB = 32 << 10
MAX_MESSAGE_BYTES = 8 << 20
"""Larger ones are refused here; the topic may take less."""
RESOLVED_AFTER_SECONDS = 30.0
"""Names of brokers are looked up again, as their addresses may change."""
_PARTITIONER = "murmur2_random"  # that of Kafka's own clients


class SinkProducer:
    """Writes messages to a partition once and in order while it lives: `acks=all`, idempotent."""

    def __init__(
        self, settings: SinkSettings, secret: str, *, delivery_seconds: float = DELIVERY_SECONDS
    ) -> None:
        self._settings, self._blocked, self._is_broken = settings, "", False
        self._failures: dict[str, str] = {}  # by topic
        self._names, self._resolved_at = set[str](), float("-inf")
        self._producer = open_client(
            Producer,
            settings,
            secret,
            {
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 20,
                "compression.type": "lz4",
                "partitioner": _PARTITIONER,
                "message.timeout.ms": int(delivery_seconds * 1000),
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "queue.buffering.max.kbytes": MAX_QUEUED_KIB,
                "queue.buffering.max.messages": 100_000,
                "delivery.report.only.error": True,
                "on_delivery": self._on_failure,
                "stats_cb": self._on_statistics,
                "error_cb": lambda _: None,  # what matters comes with the messages that are not delivered
            },
        )
        check_cluster(self._producer, settings, ANSWER_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.purge()
        self._producer.close()  # its callbacks hold this object, so that it would live for long

    def missing_topics(self) -> list[str]:
        """List those topics of the sink that the cluster does not have; it may make them when they are written to."""
        known = self._producer.list_topics(timeout=ANSWER_SECONDS).topics
        wanted = [self._settings.topic(kind) for kind in self._settings.streams]
        return [topic for topic in wanted if topic not in known]

    @property
    def is_usable(self) -> bool:
        """Return whether another stream can be sent: brokers that refused a message may take others."""
        return not self._blocked and not self._is_broken

    def poll(self) -> None:
        """Hear what librdkafka has to report, also while nothing is sent. Raises ConnectorFailed."""
        self._producer.poll(0)
        if not self.is_usable:
            raise ConnectorFailed(
                self._blocked or next(iter(self._failures.values()), "The brokers do not answer.")
            )

    def send(self, kind: str, messages: Iterable[SinkMessage], on_wait: Callable[[], object]) -> int:
        """Send messages of a stream; returns how many, all of them acknowledged. Raises ConnectorFailed.

        `on_wait` is called about every second while acknowledgements are waited for.
        """
        topic, sent = self._settings.topic(kind), 0
        self._failures.pop(topic, None)
        try:
            for message in messages:
                self._produce(topic, kind, message, on_wait)
                sent += 1
            while self._producer.flush(WAIT_SECONDS):  # a message fails at the latest when its time is over
                self._check(topic)
                on_wait()
        except KafkaException as error:
            self._note_failure(topic, error.args[0])
        self._check(topic)
        return sent

    def _produce(self, topic: str, kind: str, message: SinkMessage, on_wait: Callable[[], object]) -> None:
        headers: list[tuple[str, str | bytes | None]] = [("kind", kind), ("model", message.model)]
        while True:
            try:
                self._producer.produce(topic, message.value, message.key.encode(), headers=headers)
            except BufferError:  # as many wait as may: until some are acknowledged nothing more is read
                self._producer.poll(WAIT_SECONDS)
                self._check(topic)
                on_wait()
            else:
                return

    def _check(self, topic: str) -> None:
        if reason := self._blocked or self._failures.get(topic):
            raise ConnectorFailed(reason)

    def _on_failure(self, error: KafkaError | None, message: Any) -> None:
        if error is not None:
            self._note_failure(message.topic(), error)

    def _note_failure(self, topic: str, error: KafkaError) -> None:
        """Keep the first failure of a topic; librdkafka's own errors, other than those of brokers, are negative."""
        self._failures.setdefault(
            topic, f"{topic}: {describe_failure(KafkaException(error), self._settings)}"
        )
        self._is_broken = self._is_broken or error.code() < 0 or error.fatal()

    def _on_statistics(self, text: str) -> None:
        """See that no broker which the cluster names by now is where this server must not call."""
        brokers = orjson.loads(text).get("brokers", {}).values()
        names = {broker["nodename"] for broker in brokers if broker.get("nodename")}
        asked_at = time.monotonic()
        if names == self._names and asked_at - self._resolved_at < RESOLVED_AFTER_SECONDS:
            return
        self._names, self._resolved_at = names, asked_at
        self._blocked = self._blocked or find_blocked(names, self._settings)
