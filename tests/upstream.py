"""A real HTTP server on loopback whose answers a test chooses, also those that no sane server would give."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

type Answer = bytes | Callable[["Asked", socket.socket], None]


@dataclass(frozen=True)
class Asked:
    """A request as it came over the wire."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Upstream:
    """The server: `answer` decides what the next request gets, `asked` remembers what came."""

    port: int
    answer: Callable[[Asked], Answer]
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def response(body: bytes, status: int = 200, headers: str = "") -> bytes:
    """Write a whole answer."""
    head = f"HTTP/1.1 {status} Any\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@contextmanager
def running_upstream(answer: Callable[[Asked], Answer]) -> Iterator[Upstream]:
    """Run a server until the block ends; each connection has a thread."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = Upstream(listener.getsockname()[1], answer)
        open_sockets: list[socket.socket] = []
        threads = [
            threading.Thread(target=_accept, args=(listener, upstream, open_sockets, threads_of := []))
        ]
        threads[0].start()
        try:
            yield upstream
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            threads[0].join()
            for connected in open_sockets:
                with suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)
            for thread in threads_of:
                thread.join()


def _accept(
    listener: socket.socket,
    upstream: Upstream,
    open_sockets: list[socket.socket],
    threads: list[threading.Thread],
) -> None:
    while True:
        try:
            connected, _ = listener.accept()
        except OSError:
            return
        upstream.connections += 1
        open_sockets.append(connected)
        threads.append(threading.Thread(target=_serve, args=(connected, upstream)))
        threads[-1].start()


def _serve(connected: socket.socket, upstream: Upstream) -> None:
    with connected, connected.makefile("rb") as source, suppress(OSError):
        while (line := source.readline()).strip():
            headers = {}
            while header := source.readline().decode().strip():
                name, _, value = header.partition(": ")
                headers[name.lower()] = value
            body = source.read(int(headers.get("content-length", "0")))
            asked = Asked(line.decode().strip(), headers, body)
            upstream.asked.append(asked)
            answer = upstream.answer(asked)
            if isinstance(answer, bytes):
                connected.sendall(answer)
            else:
                answer(asked, connected)
                return
