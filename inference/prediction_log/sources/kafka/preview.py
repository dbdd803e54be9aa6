"""Reads the newest messages of topics for a person, without joining the consumer group."""

import time
from collections.abc import Iterable
from itertools import islice

from confluent_kafka import Consumer, KafkaException, TopicPartition

from inference.connectors.failure import ConnectorFailed
from inference.connectors.kafka.connection import check_cluster, describe_failure
from inference.prediction_log.sources.kafka.connection import message_of, open_consumer
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.reading.messages import StreamMessage

STEP_SECONDS = 0.5
MAX_PARTITIONS = 20  # each is asked for its newest offset


def sample_topics(
    settings: KafkaSettings, secret: str, *, messages: int, seconds: float
) -> list[StreamMessage]:
    """Read the newest messages of the topics' first partitions, without joining the group, within so many seconds.

    Raises ConnectorFailed.
    """
    deadline = time.monotonic() + seconds
    consumer = open_consumer(
        settings, secret, "driftline-preview", on_error=lambda _: None, on_statistics=lambda _: None
    )
    try:
        check_cluster(consumer, settings, _seconds_until(deadline))
        places = _newest_places(consumer, settings, messages, deadline)
        consumer.assign(list(islice(places, MAX_PARTITIONS)))
        found: list[StreamMessage] = []
        while len(found) < messages and (left := deadline - time.monotonic()) > 0:
            read = consumer.consume(messages - len(found), min(left, STEP_SECONDS))
            found += [message_of(one) for one in read if one.error() is None]
            if found and not read:
                break
        return found
    except KafkaException as error:
        raise ConnectorFailed(describe_failure(error, settings)) from error
    finally:
        consumer.close()


def _newest_places(
    consumer: Consumer, settings: KafkaSettings, messages: int, deadline: float
) -> Iterable[TopicPartition]:
    known = consumer.list_topics(timeout=_seconds_until(deadline)).topics
    if missing := [topic for topic in settings.topics if topic not in known]:
        raise ConnectorFailed(f"There is no topic {missing[0]}.")
    for topic in settings.topics:
        for number in known[topic].partitions:
            place = TopicPartition(topic, number)
            low, high = consumer.get_watermark_offsets(place, timeout=_seconds_until(deadline))
            yield TopicPartition(topic, number, max(low, high - messages))


def _seconds_until(deadline: float) -> float:
    """Return the seconds until a deadline; raises ConnectorFailed where it is past."""
    if (left := deadline - time.monotonic()) <= 0:
        raise ConnectorFailed("The brokers did not answer in time.")
    return left
