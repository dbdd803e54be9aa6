"""Reads what is in a topic, as another system does."""

from typing import Any, NamedTuple, Self

import orjson
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from tests.waiting import wait_until


class Received(NamedTuple):
    """A message of a topic."""

    key: str
    value: dict[str, Any]
    headers: dict[str, str]


class TopicReader:
    """Reads a topic on and on, from its beginning; it knows the end of a partition by reaching it.

    Tansu gives a wrong offset to who asks for the end of a partition.
    """

    def __init__(self, broker: str, topic: str) -> None:
        self.messages: list[Received] = []
        self._topic = topic
        self._ended: set[int] = set()
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker,
                "group.id": "reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "log_level": 0,
            }
        )
        known = self._consumer.list_topics(timeout=10).topics
        self._partitions = sorted(known[topic].partitions) if topic in known else []
        self._consumer.assign([TopicPartition(topic, number, 0) for number in self._partitions])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self) -> int:
        """Read some more; returns how many messages were read in all."""
        for message in self._consumer.consume(1_000, 0.02):
            error = message.error()
            if error is None:
                self._ended.discard(message.partition() or 0)
                self.messages.append(_received(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self._ended.add(message.partition() or 0)
        return len(self.messages)

    def read_to_the_end(self) -> list[Received]:
        """Return everything that is in the topic."""

        def is_at_the_end() -> bool:
            self.read()
            return len(self._ended) == len(self._partitions)

        wait_until(is_at_the_end, seconds=120, what=f"the end of {self._topic}")
        return self.messages


def received(broker: str, topic: str) -> list[Received]:
    """Return everything that is in a topic now; nothing where there is no such topic."""
    with TopicReader(broker, topic) as reader:
        return reader.read_to_the_end()


def _received(message: Message) -> Received:
    return Received(
        (message.key() or b"").decode(),
        orjson.loads(message.value() or b"null"),
        {name: bytes(value or b"").decode() for name, value in message.headers() or []},
    )
