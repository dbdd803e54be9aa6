"""A proxy between devices and the server that cuts, delays and doubles what passes, by a seed."""

import http.client
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

MAX_DELAY_SECONDS = 0.05
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class BadNetwork(ThreadingHTTPServer):
    """Forwards requests; `is_calm` lets everything pass."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, upstream: str, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.is_calm = False
        self.deeds: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._deck: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def plan(self, *deeds: str) -> None:
        """Say what becomes of the next requests."""
        with self._lock:
            self._deck = list(reversed(deeds))

    def choose(self) -> tuple[str, float]:
        """Choose what becomes of a request, and how long it takes."""
        with self._lock:
            if not self._deck:
                self._deck = self._chance.sample(_DEEDS, len(_DEEDS))
            deed = "pass" if self.is_calm else self._deck.pop()
            self.deeds[deed] += 1
            return deed, 0.0 if self.is_calm else self._chance.random() * MAX_DELAY_SECONDS

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of devices that were killed."""


_DEEDS = [
    *["pass"] * 15, *["double"] * 3, *["cut before"] * 2, *["cut after"] * 2, *["cut within"] * 2, "garbage",
]  # fmt: skip
"""What becomes of 25 requests, in an order that the seed decides: each of these happens in every run."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BadNetwork

    def do_GET(self) -> None:
        self._forward()

    def do_POST(self) -> None:
        self._forward()

    def do_PUT(self) -> None:
        self._forward()

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        deed, delay = self.server.choose()
        if delay:
            threading.Event().wait(delay)
        if deed == "cut before":
            self._cut()
            return
        answer = self._ask(body)
        if deed == "double":  # the server gets it twice, as from a proxy that retries
            answer = self._ask(body)
        if deed == "cut after" or answer is None:
            self._cut()
            return
        status, headers, content = answer
        if deed == "garbage":
            status, headers, content = (
                200,
                [("Content-Type", "text/html")],
                b"<h1>Sign in to the hotel's network</h1>",
            )
        self._answer(status, headers, content, is_cut=deed == "cut within")

    def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes] | None:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            kept = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in {"host", "connection"}
            }
            connection.request(self.command, self.path, body or None, kept)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        except OSError:
            return None
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, is_cut: bool) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP or name.lower() == "date":
                self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(content[: len(content) // 2] if is_cut else content)
        if is_cut:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def bad_network(upstream: str, seed: int) -> Iterator[BadNetwork]:
    """Run a proxy before the server at `upstream`."""
    proxy = BadNetwork(upstream, seed)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
