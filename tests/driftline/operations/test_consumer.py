"""What a worker does when it loses its broker."""

import pytest
from kombu import Connection, Exchange, Queue

from driftline.celery import app
from driftline.operations.consumer import Consumer

pytestmark = [pytest.mark.slow, pytest.mark.broker]


def test_goes_on_where_the_broken_connection_cannot_even_be_closed(broker_url: str) -> None:
    if not broker_url.startswith("redis"):
        pytest.skip("only kombu's Redis transport gives messages back itself")
    connection = Connection(broker_url)
    channel = connection.default_channel
    queue = Queue("lost-on-the-way", Exchange("lost-on-the-way"))(channel)
    queue.declare()
    connection.Producer().publish({}, exchange=queue.exchange, routing_key=queue.routing_key, declare=[queue])
    assert queue.get(no_ack=False) is not None
    # What is left of the connection where the broker dies while the worker has a message.
    connection.transport.client, channel._pool = None, None
    consumer = object.__new__(Consumer)
    consumer.app, consumer.connection = app, connection

    consumer.on_connection_error_after_connected(ConnectionError("gone"))

    assert consumer.connection is None
