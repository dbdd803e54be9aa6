"""What a broker of MQTT may be, and what one that answers oddly does; `tests/streams/test_mqtt.py` reads a real one."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from driftline.base.errors import Problem
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.kinds import check_settings, read_settings
from inference.prediction_log.sources.mqtt.adapter import message_of
from inference.prediction_log.sources.mqtt.connection import MqttConnection, Received
from inference.prediction_log.sources.mqtt.settings import MqttSettings
from tests.ports import free_port

ACCEPTED = bytes([0x20, 3, 0, 0, 0])  # CONNACK without a session
SUBSCRIBED = bytes([0x90, 4, 0, 1, 0, 1])  # SUBACK of the first request, with QoS 1


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


def where(**others: Any) -> MqttSettings:
    plain = {"kind": "mqtt", "server": "127.0.0.1:1883", "topics": ["scores/#"], "tls": "none"}
    settings = read_settings(plain | others)
    assert isinstance(settings, MqttSettings)
    return settings


@pytest.mark.parametrize(
    ("others", "pointer"),
    [
        ({"server": "mqtt://127.0.0.1:1883"}, "/settings/server"),
        ({"server": "10.0.0.1:1883"}, "/settings/server"),
        ({"server": "127.0.0.1:5432"}, "/settings/server"),
        ({"ca_certificate": "x"}, "/settings/ca_certificate"),
        ({"topics": ["a", "a/#/b"]}, "/settings/topics/1"),
        ({"topics": ["a+/b"]}, "/settings/topics/0"),
        ({"topics": ["a/b#"]}, "/settings/topics/0"),
        ({"topics": ["a" * 150, "b" * 150]}, "/settings/topics"),
    ],
)
def test_what_could_never_work_is_refused(others: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Problem) as refused:
        check_settings(where(**others))

    assert refused.value.errors[0].pointer == pointer


@pytest.mark.parametrize("topic", ["#", "+", "scores/+/loans/#", "/"])
def test_topics_and_wildcards_may_be_read(topic: str) -> None:
    check_settings(where(topics=[topic]))


def test_equal_messages_of_a_topic_have_one_key() -> None:
    keys = {
        message_of(Received(topic, payload, number, {}), "p", number).key
        for number, (topic, payload) in enumerate([("a", b"1"), ("a", b"1"), ("b", b"1"), ("a", b"2")])
    }

    assert len(keys) == 3


# -- brokers that answer oddly -----------------------------------------------------------------------------------------
@contextmanager
def broker_that_says(*answers: bytes) -> Iterator[MqttSettings]:
    """Give where a broker is that answers each packet with the next of these, and then nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk() -> None:
            try:
                caller, _ = listening.accept()
            except OSError:
                return
            with caller, suppress(OSError):  # whoever calls may hang up in between
                caller.settimeout(10)
                for answer in answers:
                    caller.recv(4_096)
                    caller.sendall(answer)
                while caller.recv(4_096):
                    pass

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield where(server=f"127.0.0.1:{listening.getsockname()[1]}")
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([b"\xff" * 64], "no broker of MQTT 5"),
        (
            [bytes([0x32, 7, 0, 1, 97, 0, 1, 0, 1]) + ACCEPTED],
            "no broker of MQTT 5",
        ),  # a message before all else
        ([bytes([0x20, 3, 0, 0x86, 0])], "does not take the connection: Bad user name or password"),
        ([ACCEPTED, bytes([0x90, 4, 0, 1, 0, 0x87])], "does not let scores/# be read: Not authorized"),
        ([ACCEPTED, bytes([0xE0, 2, 0x8E, 0])], "has ended: Session taken over"),
    ],
)
def test_what_a_broker_answers_otherwise_is_said(answers: list[bytes], reason: str) -> None:
    with broker_that_says(*answers) as settings, pytest.raises(ConnectorFailed, match=reason):
        read_for_ever(settings)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (bytes([0x32, 0xFF, 0xFF, 0xFF, 0x7F]) + b"x" * 64, "more than 4 MiB"),
        (bytes([0x32, 5, 0, 90, 0, 1, 0]), "no broker of MQTT 5"),
        (bytes([0x34, 6, 0, 1, 97, 0, 1, 0]), "no broker of MQTT 5"),  # of QoS 2
        (bytes([0x32, 8, 0, 1, 0xFF, 0, 7, 0, 1, 1]), "no broker of MQTT 5"),
    ],
)
def test_a_packet_that_is_none_ends_the_connection(packet: bytes, reason: str) -> None:
    with (
        broker_that_says(ACCEPTED, SUBSCRIBED + packet) as settings,
        pytest.raises(ConnectorFailed, match=reason),
    ):
        read_for_ever(settings)


def read_for_ever(settings: MqttSettings) -> None:
    with MqttConnection(settings, "", session="s") as connection:
        while True:
            connection.read(0.2)


def test_a_broker_that_is_away_is_said() -> None:
    with pytest.raises(ConnectorFailed, match=r"cannot be read now: .*refused"):
        MqttConnection(where(server=f"127.0.0.1:{free_port()}"), "", session="s")
