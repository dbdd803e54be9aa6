"""Tasks are sent on a thread of their own: who enqueues one never waits for the broker."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer

from driftline.base.work import task_queue
from driftline.base.work.task_queue import MAX_WAITING, RETRY_SECONDS, SendingThread, Task
from driftline.celery import app
from driftline.operations.services.urls import embedded_broker_url
from driftline.operations.services.valkey import valkey_child
from tests.embedded import launch, make_home


@pytest.fixture
def mute_broker(tmp_path: Path, settings: Any) -> Iterator[None]:
    """A socket that takes connections and never says a word, as a stopped broker's does."""
    with socket.socket(socket.AF_UNIX) as listener:
        path = tmp_path / "broker"
        listener.bind(str(path))
        listener.listen(8)
        settings.CELERY_BROKER_URL = f"redis+socket://{path}"
        yield


def test_enqueuing_does_not_wait_for_a_broker_that_says_nothing(
    mute_broker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that enqueued the first task hung for ever, with its thread and its connection to the database."""
    monkeypatch.setattr(task_queue, "QUICK_SECONDS", 0.05)
    sender, tries = SendingThread(), list[int]()

    def send(connection: Connection) -> None:
        tries.append(threading.get_ident())
        connection.default_channel.client.ping()

    for _ in range(100):
        sender.put(send)

    assert sender.wait_until_sent(60)
    assert len(tries) == 1  # the others were dropped: the broker was known not to answer
    assert tries[0] != threading.get_ident()


def test_a_worker_takes_ticks_before_all_rows_and_what_people_asked_for_between_them(
    broker_url: str, request: pytest.FixtureRequest
) -> None:
    """The heartbeat was 461 s old behind 272 messages about rows, and a search waited for eight minutes."""
    if not broker_url.startswith("redis"):
        pytest.skip("RabbitMQ sends the messages of its queues in turn")
    options = app.conf.broker_transport_options | {"global_keyprefix": request.node.name}
    taken: list[str] = []

    with Connection(broker_url, transport_options=options) as connection, connection.channel() as channel:
        for task in (*[Task.SUMMARISE] * 3, *[Task.LONG_WORK] * 2, Task.HEARTBEAT):
            app.send_task(task, connection=connection)
        with Consumer(channel, list(app.amqp.queues.consume_from.values()), accept=["json"]) as consumer:
            consumer.qos(prefetch_count=1)
            consumer.register_callback(lambda _, message: taken.append(message.headers["task"]))
            consumer.register_callback(lambda _, message: message.ack())
            while len(taken) < 6:
                connection.drain_events(timeout=10)

    assert taken[0] == Task.HEARTBEAT
    assert set(taken[1:3]) == set(taken[3:5]) == {Task.LONG_WORK, Task.SUMMARISE}


@pytest.mark.slow
def test_tries_again_after_a_while(mute_broker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    moment, tries = 0.0, list[int]()
    sender = SendingThread(lambda: moment)

    def fail(_: Connection) -> None:
        tries.append(1)
        raise OSError("no answer")

    sender.put(fail)
    assert sender.wait_until_sent(60)
    sender.put(fail)
    moment = RETRY_SECONDS
    sender.put(fail)
    assert sender.wait_until_sent(60)

    assert len(tries) == 2


def test_sends_again_once_the_broker_goes_on(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_queue, "QUICK_SECONDS", 0.1)
    paths = make_home(tmp_path / "home")
    broker = launch(valkey_child(paths), paths)
    broker.wait_ready()
    settings.CELERY_BROKER_URL = embedded_broker_url(paths.home)
    moment, sent = 0.0, list[object]()
    sender = SendingThread(lambda: moment)

    def send(connection: Connection) -> None:
        sent.append(connection.default_channel.client.ping())

    try:
        sender.put(send)
        assert sender.wait_until_sent(60)
        os.kill(broker.pid or 0, signal.SIGSTOP)
        sender.put(send)
        assert sender.wait_until_sent(60)
        os.kill(broker.pid or 0, signal.SIGCONT)
        moment = RETRY_SECONDS
        sender.put(send)
        assert sender.wait_until_sent(60)
    finally:
        broker.stop()

    assert sent == [True, True]  # the one in between was dropped


def test_holds_a_limited_number_of_messages(mute_broker: None) -> None:
    sender, gate = SendingThread(), threading.Event()

    for _ in range(MAX_WAITING + 100):
        sender.put(lambda _: gate.wait(60) and None)

    assert sender._waiting.qsize() <= MAX_WAITING
    gate.set()
    assert sender.wait_until_sent(60)
