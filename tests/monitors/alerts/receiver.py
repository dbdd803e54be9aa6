"""A webhook receiver on loopback that answers as it is told and keeps what it was sent."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any

from standardwebhooks import Webhook

from tests.loopback import LoopbackHandler, LoopbackServer


@dataclass(frozen=True)
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"taken"

    def __call__(self, handler: BaseHTTPRequestHandler, stopped: Event) -> None:
        handler.send_response(self.status)
        for name, value in {"Content-Length": str(len(self.body)), **self.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(self.body)


@dataclass(frozen=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


def trickle(start: bytes) -> Callable[[BaseHTTPRequestHandler, Event], None]:
    """Write `start`, then a byte now and then for ever: a slow loris."""

    def answer(handler: BaseHTTPRequestHandler, stopped: Event) -> None:
        handler.wfile.write(start)
        while not stopped.wait(0.02):
            handler.wfile.write(b"x")

    return answer


def endless(handler: BaseHTTPRequestHandler, stopped: Event) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not stopped.is_set():
        handler.wfile.write(b"x" * 65536)


def only_continue(handler: BaseHTTPRequestHandler, stopped: Event) -> None:
    """Promise an answer with 100 Continue and never give it."""
    handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    stopped.wait()


def hang_up(handler: BaseHTTPRequestHandler, stopped: Event) -> None:
    handler.connection.close()


class Receiver(LoopbackServer):
    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[Callable[[BaseHTTPRequestHandler, Event], None]] = [Answer()]
        """One for each request; the last is used for all that follow."""
        self.received: list[Received] = []
        self.secret: str | None = None
        super().__init__(self._handler(), tls=tls)
        self.url += "/hook"

    @property
    def ids(self) -> list[str]:
        return [received.headers["webhook-id"] for received in self.received]

    def verified(self, index: int = -1) -> Any:
        """Check a request as a receiver would, and give its JSON."""
        assert self.secret is not None
        return Webhook(self.secret).verify(self.received[index].body, self.received[index].headers)

    def _handler(self) -> type[LoopbackHandler]:
        receiver = self

        class Handler(LoopbackHandler):
            def do_POST(self) -> None:
                receiver.received.append(Received(self.path, self.read_headers(), self.read_body()))
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                answer(self, receiver.stopped)

        return Handler
