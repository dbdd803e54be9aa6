"""Rings go out on a thread of their own: who rings never waits for the broker."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from driftline.common import doorbell
from driftline.common.doorbell import AWAY_SECONDS, MAX_WAITING, Ringer
from driftline.services.urls import embedded_broker_url
from driftline.services.valkey import valkey_child
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


def test_a_ring_does_not_wait_for_a_broker_that_says_nothing(
    mute_broker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that rang first hung for ever, with its thread and its connection to the database."""
    monkeypatch.setattr(doorbell, "QUICK_SECONDS", 0.05)
    ringer, tries = Ringer(), list[int]()

    def send(connection: Connection) -> None:
        tries.append(threading.get_ident())
        connection.default_channel.client.ping()

    for _ in range(100):
        ringer.put(send)

    assert ringer.wait_until_rung(60)
    assert len(tries) == 1  # the others were dropped: the broker was known not to answer
    assert tries[0] != threading.get_ident()


def test_tries_again_after_a_while(mute_broker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    moment, tries = 0.0, list[int]()
    ringer = Ringer(lambda: moment)

    def fail(_: Connection) -> None:
        tries.append(1)
        raise OSError("no answer")

    ringer.put(fail)
    assert ringer.wait_until_rung(60)
    ringer.put(fail)
    moment = AWAY_SECONDS
    ringer.put(fail)
    assert ringer.wait_until_rung(60)

    assert len(tries) == 2


def test_rings_again_once_the_broker_goes_on(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorbell, "QUICK_SECONDS", 0.1)
    paths = make_home(tmp_path / "home")
    broker = launch(valkey_child(paths), paths)
    broker.wait_ready()
    settings.CELERY_BROKER_URL = embedded_broker_url(paths.home)
    moment, sent = 0.0, list[object]()
    ringer = Ringer(lambda: moment)

    def send(connection: Connection) -> None:
        sent.append(connection.default_channel.client.ping())

    try:
        ringer.put(send)
        assert ringer.wait_until_rung(60)
        os.kill(broker.pid or 0, signal.SIGSTOP)
        ringer.put(send)
        assert ringer.wait_until_rung(60)
        os.kill(broker.pid or 0, signal.SIGCONT)
        moment = AWAY_SECONDS
        ringer.put(send)
        assert ringer.wait_until_rung(60)
    finally:
        broker.stop()

    assert sent == [True, True]  # the one in between was dropped


def test_holds_so_many_rings_at_most(mute_broker: None) -> None:
    ringer, gate = Ringer(), threading.Event()

    for _ in range(MAX_WAITING + 100):
        ringer.put(lambda _: gate.wait(60) and None)

    assert ringer._waiting.qsize() <= MAX_WAITING
    gate.set()
    assert ringer.wait_until_rung(60)
