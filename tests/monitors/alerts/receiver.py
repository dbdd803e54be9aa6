"""A webhook receiver on loopback that answers as it is told and keeps what it was sent."""

import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self

from standardwebhooks import Webhook


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


class Receiver:
    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.answers: list[Callable[[BaseHTTPRequestHandler, Event], None]] = [Answer()]
        """One for each request; the last is used for all that follow."""
        self.received: list[Received] = []
        self.secret: str | None = None
        self._stopped = Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False  # closing waits for them: what a test started has ended with it
        if tls:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/hook"

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def ids(self) -> list[str]:
        return [received.headers["webhook-id"] for received in self.received]

    def verified(self, index: int = -1) -> Any:
        """Check a request as a receiver would, and give its JSON."""
        assert self.secret is not None
        return Webhook(self.secret).verify(self.received[index].body, self.received[index].headers)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(self.path, headers, body))
                answer = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
                answer(self, receiver._stopped)

            def handle(self) -> None:
                with suppress(OSError):  # the sender cut the connection
                    super().handle()

            def finish(self) -> None:
                with suppress(OSError, ValueError):  # nothing more can be written to a cut connection
                    super().finish()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
