"""What a server of NATS may be, and that nothing is sent to one without TLS; `tests/streams/test_nats.py` reads one."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import orjson
import pytest

from driftline.base.errors import Problem
from driftline.base.outbound import addresses
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.kinds import check_settings, read_settings
from inference.prediction_log.sources.nats import connection
from inference.prediction_log.sources.nats.connection import NatsConnection
from inference.prediction_log.sources.nats.settings import NatsSettings
from tests.ports import free_port


@pytest.fixture(autouse=True)
def reachable(settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]


def where(**others: Any) -> NatsSettings:
    settings = read_settings({"kind": "nats", "server": "127.0.0.1:4222", "stream": "scores"} | others)
    assert isinstance(settings, NatsSettings)
    return settings


@pytest.mark.parametrize(
    ("others", "pointer"),
    [
        ({"server": "nats://127.0.0.1:4222"}, "/settings/server"),
        ({"server": "10.0.0.1:4222"}, "/settings/server"),
        ({"server": "127.0.0.1:5432"}, "/settings/server"),
        ({"server": "127.0.0.1:22"}, "/settings/server"),
        ({"tls": "none", "ca_certificate": "x"}, "/settings/ca_certificate"),
    ],
)
def test_what_could_never_work_is_refused(others: dict[str, str], pointer: str) -> None:
    with pytest.raises(Problem) as refused:
        check_settings(where(**others))

    assert refused.value.errors[0].pointer == pointer


@contextmanager
def server_that_says(greeting: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Give the address of a server that greets who calls, and what it hears."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            while True:
                try:
                    caller, _ = listening.accept()
                except OSError:
                    return
                with caller:
                    caller.sendall(greeting)
                    caller.settimeout(10)
                    while data := caller.recv(4_096):
                        heard.append(data)

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}", heard
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_a_server_that_says_nothing_is_said_not_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.1)

    with (
        server_that_says(b"") as (address, _),
        pytest.raises(ConnectorFailed, match=r"^The server does not answer\.$"),
    ):
        NatsConnection(where(server=address, tls="none"), "")


def test_a_server_that_does_not_ask_for_tls_hears_no_password() -> None:
    greeting = b'INFO {"version": "2.10.0", "max_payload": 1048576}\r\n'
    with (
        server_that_says(greeting) as (address, heard),
        pytest.raises(ConnectorFailed, match="does not ask for TLS"),
    ):
        NatsConnection(where(server=address, user="ada"), "secret")

    assert heard == []


def test_what_is_no_server_of_nats_is_said() -> None:
    with (
        server_that_says(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (address, _),
        pytest.raises(ConnectorFailed, match="expecting INFO"),
    ):
        NatsConnection(where(server=address, tls="none"), "")


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [[], ["127.0.0.1/32"]])
def test_a_strangers_port_looks_the_same_closed_or_silent(
    settings: Any, monkeypatch: pytest.MonkeyPatch, allowed: list[str]
) -> None:
    monkeypatch.setattr(addresses, "_is_public", lambda _: True)
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.2)
    settings.OUTBOUND_ALLOW = allowed
    texts = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (free_port(), silent.getsockname()[1]):
            with pytest.raises(ConnectorFailed) as failed:
                NatsConnection(where(server=f"127.0.0.1:{port}"), "")
            texts.append(str(failed.value))

    assert (texts[0] == texts[1]) or allowed


# -- servers that answer oddly -----------------------------------------------------------------------------------------
class Talker:
    """A server that speaks the protocol as far as a reader needs it; `answers` are by the end of a subject."""

    def __init__(self, info: dict[str, Any], answers: dict[str, bytes]) -> None:
        self.info, self.answers = info, answers
        self.address = ""
        self._subscriptions: dict[bytes, bytes] = {}

    def talk(self, caller: socket.socket) -> None:
        caller.sendall(b"INFO " + orjson.dumps(self.info) + b"\r\n")
        lines = caller.makefile("rb")
        while line := lines.readline():
            match line.split():
                case [b"PING"]:
                    caller.sendall(b"PONG\r\n")
                case [b"SUB", subject, *_, number]:
                    self._subscriptions[subject.removesuffix(b"*")] = number
                case [b"PUB", subject, reply, length]:
                    lines.read(int(length) + 2)
                    self._answer(caller, subject.decode(), reply)

    def _answer(self, caller: socket.socket, subject: str, reply: bytes) -> None:
        number = next(
            (number for prefix, number in self._subscriptions.items() if reply.startswith(prefix)), b"1"
        )
        answer = next(
            (body for end, body in self.answers.items() if f".{end}." in subject or subject.endswith(end)),
            None,
        )
        if answer is None:
            return
        raw = answer.startswith((b"MSG ", b"INFO "))
        if not raw:
            answer = b"MSG %s %s %d\r\n%s\r\n" % (reply, number, len(answer), answer)
        with suppress(OSError):
            caller.sendall(answer.replace(b"{reply}", reply).replace(b"{number}", number))


@contextmanager
def talker(answers: dict[str, bytes], **info: Any) -> Iterator[Talker]:
    server = Talker({"version": "2.10.0", "max_payload": 1_048_576, "headers": True} | info, answers)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server.address = f"127.0.0.1:{listening.getsockname()[1]}"

        def serve() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = listening.accept()
                    with caller:
                        server.talk(caller)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def stream_info(**state: Any) -> bytes:
    return orjson.dumps({"config": {"name": "scores"}, "state": state, "created": "2026-01-05T00:00:00Z"})


ODD = "answers as no server of NATS does"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"[]", ODD),
        (b'{"state": 5}', ODD),
        (b'{"config": {}, "state": null}', ODD),
        (b"[" * 200_000, ODD),
        (stream_info(messages=1, bytes=1, first_seq="one", last_seq=[], consumer_count=0), ODD),
        (b"INFO []\r\n", ODD),
        (b"MSG {reply} {number} 99999999999\r\nabc", "sends a message of more than 32 MiB"),
    ],
)
def test_a_server_that_answers_oddly_is_a_failure_with_a_reason(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, says: str
) -> None:
    with (
        talker({"STREAM.INFO": answer}) as server,
        NatsConnection(where(server=server.address, tls="none"), "") as connected,
        pytest.raises(ConnectorFailed, match=says),
    ):
        connected.state()


@pytest.mark.parametrize("info", [{"max_payload": {}}, {"max_payload": "x"}])
def test_a_greeting_of_other_types_is_a_failure_with_a_reason(info: dict[str, Any]) -> None:
    with (
        talker({"STREAM.INFO": stream_info(first_seq=1, last_seq=1)}, **info) as server,
        pytest.raises(ConnectorFailed, match=ODD),
        NatsConnection(where(server=server.address, tls="none"), "") as connected,
    ):
        connected.fetch(0.1)


@pytest.mark.slow
def test_pythons_own_timeout_within_a_question_means_that_nothing_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the library raises where the server's word comes just before the time is over."""

    class Cursor:
        async def fetch(self, *_: object, **__: object) -> list[Any]:
            raise TimeoutError

    class SilentCursor:
        async def fetch(self, *_: object, **__: object) -> list[Any]:
            await asyncio.Event().wait()
            return []

    with (
        talker({}) as server,
        NatsConnection(where(server=server.address, tls="none"), "") as connected,
    ):
        monkeypatch.setattr(connected, "_cursor", Cursor())
        assert connected.fetch(0.1) == []

        monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.1)
        monkeypatch.setattr(connected, "_cursor", SilentCursor())
        with pytest.raises(ConnectorFailed):
            connected.fetch(0.1)
