"""A small HTTP server on the loopback address: bounded bodies, bounded connections, no other host's names."""

import json
import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from driftline_agent.binary_tensors import BINARY_TYPE, LENGTH_HEADER
from driftline_agent.errors import AgentError
from driftline_agent.serving import Dataplane, Reply

log = logging.getLogger("driftline_agent")

MAX_JSON_BYTES = 1 << 20
MAX_BODY_BYTES = MAX_JSON_BYTES + (8 << 20)
"""With the bytes of tensors behind it: an image of 640 x 640 in FP32 has 5 MB."""
MAX_LARGE_BODIES = 4
"""At once, of those that are larger than JSON may be; others wait."""
MAX_CONNECTIONS = 64
IDLE_SECONDS = 60
_OWN_NAMES = {"127.0.0.1", "localhost"}


class LoopbackServer(ThreadingHTTPServer):
    """Answers on 127.0.0.1; each connection has a thread, of which there are so many and no more."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, dataplane: Dataplane) -> None:
        """Take a port, any for 0; raises AgentError where another program has it."""
        self.dataplane = dataplane
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self.large_bodies = threading.BoundedSemaphore(MAX_LARGE_BODIES)
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise AgentError(
                f"The agent cannot answer on 127.0.0.1:{port}: {error.strerror}. Give another port by --port."
            ) from error

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            request.sendall(
                b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection ended early", exc_info=True)

    def server_bind(self) -> None:
        """Bind without asking for the host's name, which may need a network."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "driftline-agent"
    sys_version = ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # one packet for headers and body
    server: LoopbackServer

    def do_GET(self) -> None:
        if self._is_ours():
            self._send(self.server.dataplane.read(self._path()))

    def do_POST(self) -> None:
        if not self._is_ours() or (length := self._length()) is None:
            return
        if length <= MAX_JSON_BYTES:
            self._answer(length)
            return
        with self.server.large_bodies:
            self._answer(length)

    def _answer(self, length: int) -> None:
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        given = self.headers.get(LENGTH_HEADER, str(length))
        if not (given.isascii() and given.isdigit() and len(given) <= 12 and int(given) <= length):
            self._refuse(400, f"{LENGTH_HEADER} must be the length of the JSON before the tensors")
            return
        head, tail = body[: int(given)], body[int(given) :]
        if len(head) > MAX_JSON_BYTES:
            self._refuse(
                413, f"the JSON is larger than {MAX_JSON_BYTES:,} bytes; send tensors as bytes behind it"
            )
            return
        try:
            reply = self.server.dataplane.write(self._path(), head, tail)
        except Exception:
            log.exception("a request failed")
            self._refuse(500, "the agent could not answer; its log says why")
            return
        self._send(reply)

    def _path(self) -> str:
        return unquote(self.path.partition("?")[0])

    def _is_ours(self) -> bool:
        """Refuse a request that a web page elsewhere has a browser of this device send."""
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host in _OWN_NAMES and "Origin" not in self.headers:
            return True
        self._refuse(403, "this address is for programs of this device")
        return False

    def _length(self) -> int | None:
        """Return how long the body is; None where that is refused."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self._refuse(411, "send the body with a Content-Length")
            return None
        if len(length) > 12 or int(length) > MAX_BODY_BYTES:
            self._refuse(413, f"the body is larger than {MAX_BODY_BYTES:,} bytes")
            return None
        return int(length)

    def _refuse(self, status: int, sentence: str) -> None:
        """Answer, and end the connection: what else it holds is not read."""
        self.close_connection = True
        self._send(Reply(status, {"error": sentence}))

    def _send(self, reply: Reply) -> None:
        content = (
            b"" if reply.document is None else json.dumps(reply.document, separators=(",", ":")).encode()
        )
        self.send_response(reply.status)
        if content:
            self.send_header("Content-Type", BINARY_TYPE if reply.tail else "application/json")
        if reply.tail:
            self.send_header(LENGTH_HEADER, str(len(content)))
        self.send_header("Content-Length", str(len(content) + len(reply.tail)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content + reply.tail)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Write nothing of each request."""
