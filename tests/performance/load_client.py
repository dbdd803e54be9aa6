"""A light HTTP load client: many keep-alive connections on one epoll, closed loop, answers checked."""

import json
import select
import socket
import time
from dataclasses import dataclass, field

CHECK_EVERY = 97  # a prime, so that the checked answers wander over the rows


@dataclass(frozen=True)
class Question:
    """A request's bytes and the outputs that a right answer holds, by name."""

    payload: bytes
    expected: dict[str, list[float]]


@dataclass
class Load:
    """What a run of load measured."""

    seconds: float = 0.0
    latencies_s: list[float] = field(default_factory=list)
    checked: int = 0
    server_cpu_s: float = 0.0  # filled in by who knows the server

    @property
    def rate(self) -> float:
        return len(self.latencies_s) / self.seconds

    @property
    def server_cpu_us(self) -> float:
        return self.server_cpu_s * 1e6 / len(self.latencies_s)

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000


class _Connection:
    def __init__(self, port: int, place: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.turn = place
        self.received = b""
        self.sent_at = 0.0


class WrongAnswer(AssertionError):
    """The server answered something else than the model."""


def run_load(port: int, questions: list[Question], connections: int, seconds: float) -> Load:
    """Ask the questions over and over on so many connections; raise WrongAnswer at the first wrong one."""
    load = Load()
    poll = select.epoll()
    open_connections: dict[int, _Connection] = {}
    for place in range(connections):
        connection = _Connection(port, place)
        open_connections[connection.socket.fileno()] = connection
        poll.register(connection.socket.fileno(), select.EPOLLIN)
    began = time.perf_counter()
    for connection in open_connections.values():
        _ask(connection, questions)
    until = began + seconds
    busy = connections
    while busy:
        for handle, _ in poll.poll(10):
            connection = open_connections[handle]
            data = connection.socket.recv(65536)
            if not data:
                raise WrongAnswer("the server closed a connection under load")
            connection.received += data
            if not _is_whole(connection.received):
                continue
            now = time.perf_counter()
            load.latencies_s.append(now - connection.sent_at)
            _check(load, connection, questions)
            connection.received = b""
            if now < until:
                connection.turn += 7
                _ask(connection, questions)
            else:
                busy -= 1
    load.seconds = time.perf_counter() - began
    for connection in open_connections.values():
        connection.socket.close()
    poll.close()
    return load


def _ask(connection: _Connection, questions: list[Question]) -> None:
    connection.sent_at = time.perf_counter()
    connection.socket.sendall(questions[connection.turn % len(questions)].payload)


def _is_whole(received: bytes) -> bool:
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return False
    start = received.find(b"content-length: ", 0, head) + 16
    return len(received) - head - 4 >= int(received[start : received.find(b"\r", start)])


def _check(load: Load, connection: _Connection, questions: list[Question]) -> None:
    """Check every answer's status, and the numbers of one in CHECK_EVERY."""
    if not connection.received.startswith(b"HTTP/1.1 200"):
        raise WrongAnswer(connection.received[:500].decode(errors="replace"))
    if len(load.latencies_s) % CHECK_EVERY:
        return
    load.checked += 1
    answer = json.loads(connection.received.partition(b"\r\n\r\n")[2])
    question = questions[connection.turn % len(questions)]
    for output in answer["outputs"]:
        wanted = question.expected[output["name"]]
        if any(abs(a - b) > 1e-6 for a, b in zip(output["data"], wanted, strict=True)):
            raise WrongAnswer(f"{output['name']} is {output['data']} and should be {wanted}")
