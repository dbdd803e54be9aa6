"""A real HTTP server on the loopback that behaves as each test scripts it."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson
import pytest


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        read: dict[str, object] = orjson.loads(self.body)
        return read


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: object = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    """Close the connection instead of answering."""


Script = Callable[[Received], Reply]


class QuietServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up in the middle is what some tests are about."""


class ScriptedServer:
    """Answers each request as `script` says and remembers it, in order of arrival."""

    def __init__(self) -> None:
        self.script: Script = lambda request: Reply()
        self.received: list[Received] = []
        self._lock = threading.Lock()
        server = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while line := self.rfile.readline():
                    method, path, _ = line.decode().split(" ", 2)
                    headers = {}
                    while (header := self.rfile.readline().decode().strip()) != "":
                        name, _, value = header.partition(":")
                        headers[name.lower()] = value.strip()
                    body = self.rfile.read(int(headers.get("content-length", 0)))
                    reply = server.answer(Received(method, path, headers, body))
                    if reply.hang_up:
                        return
                    content = orjson.dumps(reply.body)
                    told = {"Content-Type": "application/json", "Content-Length": str(len(content))}
                    head = "".join(f"{name}: {value}\r\n" for name, value in (told | reply.headers).items())
                    self.wfile.write(f"HTTP/1.1 {reply.status} x\r\n{head}\r\n".encode() + content)
                    if reply.headers.get("Connection") == "close":
                        return

        self._server = QuietServer(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, request: Received) -> Reply:
        with self._lock:
            self.received.append(request)
            return self.script(request)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    yield scripted
    scripted.stop()
