"""A light HTTP/1.1 sender: a few keep-alive connections, each with some requests under way.

The replay shares two cores with the server that it asks; a general client would cost more than the answers.
Requests carry `driftline_id`, so one whose answer got lost is simply sent again.
"""

import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

CONNECTIONS = 8
DEPTH = 16
"""Requests under way on one connection: their bytes fit the socket's buffers, so nobody waits for the other."""
TIMEOUT_S = 30.0
PAUSE_S = 0.5
BUSY = (429, 503)


class RequestRefused(Exception):
    """The server refused a request for good; sending it again would not help."""


@dataclass(frozen=True)
class HttpAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def closes(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    @property
    def retry_after_s(self) -> float:
        try:
            return float(self.headers.get("retry-after", PAUSE_S))
        except ValueError:
            return PAUSE_S


class ConnectionLost(Exception):
    """The server closed the connection, or stopped answering."""


class HttpConnection:
    """One connection, opened when it is first needed and again after the server closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._socket: socket.socket | None = None
        self._received = b""

    def write(self, content: bytes) -> None:
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self._address, TIMEOUT_S)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(content)
        except OSError as error:
            self.close()
            raise ConnectionLost(str(error)) from error

    def read_answer(self) -> HttpAnswer:
        head = self._read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:])}
        body = self._read_exactly(int(headers.get("content-length", "0")))
        return HttpAnswer(int(head[0].split(" ", 2)[1]), headers, body)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._received = None, b""

    def _read_until(self, mark: bytes) -> bytes:
        while (at := self._received.find(mark)) < 0:
            self._receive()
        content, self._received = self._received[:at], self._received[at + len(mark) :]
        return content

    def _read_exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            self._receive()
        content, self._received = self._received[:size], self._received[size:]
        return content

    def _receive(self) -> None:
        if self._socket is None:
            raise ConnectionLost("not connected")
        try:
            chunk = self._socket.recv(1 << 16)
        except OSError as error:
            chunk = b""
            cause = str(error)
        else:
            cause = "closed by the server"
        if not chunk:
            self.close()
            raise ConnectionLost(cause)
        self._received += chunk


class RequestSender:
    """Sends many small POST requests to one path and waits until each was answered."""

    def __init__(self, host: str, port: int, path: str, token: str, connections: int = CONNECTIONS) -> None:
        self._connections = [HttpConnection(host, port) for _ in range(connections)]
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode("ascii")

    def send(self, bodies: Sequence[bytes]) -> None:
        """Send every body, again after a busy answer or a lost connection, until each was accepted.

        Raises RequestRefused on an answer that will not change.
        """
        waiting = deque(bodies)
        while waiting:
            pause = self._send_round(waiting)
            if pause:
                time.sleep(pause)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def _send_round(self, waiting: deque[bytes]) -> float:
        """Fill every connection once and read the answers; what was not accepted goes back in front."""
        depth = min(DEPTH, -(-len(waiting) // len(self._connections)))
        shares = [
            (connection, [waiting.popleft() for _ in range(min(depth, len(waiting)))])
            for connection in self._connections
            if waiting
        ]
        for connection, share in shares:
            with suppress(ConnectionLost):  # noticed again when the answers are read
                connection.write(b"".join(map(self._framed, share)))
        pause, again = 0.0, list[bytes]()
        for connection, share in shares:
            for position, body in enumerate(share):
                try:
                    answer = connection.read_answer()
                except ConnectionLost:
                    again += share[position:]
                    pause = max(pause, PAUSE_S)
                    break
                if answer.status in BUSY:
                    again.append(body)
                    pause = max(pause, answer.retry_after_s)
                elif answer.status != 200:
                    raise RequestRefused(f"{answer.status}: {answer.body[:500].decode(errors='replace')}")
                if answer.closes:
                    connection.close()
        waiting.extendleft(reversed(again))
        return pause

    def _framed(self, body: bytes) -> bytes:
        return self._head + str(len(body)).encode("ascii") + b"\r\n\r\n" + body
