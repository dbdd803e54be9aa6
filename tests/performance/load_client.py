"""A light HTTP load client: many keep-alive connections on one epoll, answers checked.

`run_load` is a closed loop: each connection asks again once it is answered. `run_arrivals` is an open loop: requests
leave when a schedule says so, whether or not those before them are answered.
"""

import contextlib
import ctypes
import gc
import json
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

CHECK_EVERY = 97  # a prime, so that the checked answers wander over the rows
PATIENCE_S = 3.0  # how long after the last arrival of an open loop its answers are waited for
PR_SET_TIMERSLACK = 29


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
    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0  # filled in by who knows the server
    unanswered: int = 0  # of an open loop, when its patience ended; their latency is the wait so far
    refused: int = 0  # of an open loop: answers 429 and 503
    slips_s: list[float] = field(default_factory=list)  # of an open loop: how late the client itself was

    @property
    def answered(self) -> int:
        """Count the answers of the model: a server that refuses must not look faster for it."""
        return len(self.latencies_s) - self.unanswered - self.refused

    @property
    def rate(self) -> float:
        return self.answered / self.seconds

    @property
    def server_cpu_us(self) -> float:
        return self.server_cpu_s * 1e6 / max(self.answered, 1)

    @property
    def client_cores(self) -> float:
        """The share of one core that the client used: near 1, it is the client that was measured."""
        return self.client_cpu_s / self.seconds

    def quantile_ms(self, share: float) -> float:
        return float(np.quantile(self.latencies_s, share)) * 1000

    def slip_ms(self, share: float) -> float:
        return float(np.quantile(self.slips_s, share)) * 1000


class WrongAnswer(AssertionError):
    """The server answered something else than the model."""


class _Connection:
    def __init__(self, port: int, place: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.turn = place
        self.received = b""
        self.since = 0.0  # from when the latency of its request counts
        self.free_at = 0.0

    def ask(self, questions: list[Question], since: float) -> None:
        self.since = since
        self.turn += 7
        self.received = b""
        self.socket.sendall(questions[self.turn % len(questions)].payload)

    def receive(self) -> bool:
        """Read what has come; tell whether the answer is whole."""
        data = self.socket.recv(65536)
        if not data:
            raise WrongAnswer("the server closed a connection under load")
        self.received += data
        head = self.received.find(b"\r\n\r\n")
        if head < 0:
            return False
        fields = self.received[:head].lower()
        start = fields.find(b"content-length:") + 15
        end = fields.find(b"\r", start)
        return len(self.received) - head - 4 >= int(fields[start : end if end > 0 else head])


@contextlib.contextmanager
def _connected(port: int, connections: int) -> Iterator[tuple[select.epoll, dict[int, _Connection]]]:
    """Open the connections, and keep the garbage collector from pausing the client."""
    poll = select.epoll()
    opened: dict[int, _Connection] = {}
    gc.disable()
    try:
        for place in range(connections):
            connection = _Connection(port, place)
            opened[connection.socket.fileno()] = connection
            poll.register(connection.socket.fileno(), select.EPOLLIN)
        yield poll, opened
    finally:
        gc.enable()
        for connection in opened.values():
            connection.socket.close()
        poll.close()


# -- closed loop -------------------------------------------------------------------------------------------------------
def run_load(port: int, questions: list[Question], connections: int, seconds: float) -> Load:
    """Ask the questions over and over on so many connections; raise WrongAnswer at the first wrong one."""
    load = Load()
    with _connected(port, connections) as (poll, opened):
        cpu, began = time.process_time(), time.perf_counter()
        for connection in opened.values():
            connection.ask(questions, time.perf_counter())
        until = began + seconds
        busy = connections
        while busy:
            for handle, _ in poll.poll(30):
                connection = opened[handle]
                if not connection.receive():
                    continue
                now = time.perf_counter()
                load.latencies_s.append(now - connection.since)
                _check(load, connection, questions)
                if now < until:
                    connection.ask(questions, time.perf_counter())
                else:
                    busy -= 1
        load.seconds = time.perf_counter() - began
        load.client_cpu_s = time.process_time() - cpu
    return load


# -- open loop ---------------------------------------------------------------------------------------------------------
def poisson_arrivals(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw the moments of independent arrivals, in seconds from the start: exponential pauses, `rate` a second."""
    pauses = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds))
    moments: list[float] = np.cumsum(pauses).tolist()
    return moments


def run_arrivals(
    port: int, questions: list[Question], arrivals: list[float], *, connections: int = 64
) -> Load:
    """Send a request at each moment of the schedule, and wait for all answers.

    Coordinated omission is avoided: a latency counts from the moment that the schedule names, not from the sending. A
    request whose moment has come while all connections are busy leaves with the first that is free, and that wait is
    part of its latency. What has no answer PATIENCE_S after the last arrival counts with its wait so far, so that a
    server that stalls cannot hide its worst.

    The client's own lag is measured as well: a slip runs from the moment at which a request could have left (the
    scheduled one, or later the one at which its connection became free) to that of its sending.
    """
    load = Load()
    _sleep_exactly()
    with _connected(port, connections) as (poll, opened):
        idle = deque(opened.values())
        cpu, began = time.process_time(), time.perf_counter()
        due = [began + moment for moment in arrivals]
        sent, answered = 0, 0
        patience_ends = due[-1] + PATIENCE_S
        while answered < len(due) and (now := time.perf_counter()) < patience_ends:
            while idle and sent < len(due) and due[sent] <= now:
                connection = idle.popleft()
                load.slips_s.append(now - max(due[sent], connection.free_at))
                connection.ask(questions, due[sent])
                sent += 1
                now = time.perf_counter()
            pause = due[sent] - now if idle and sent < len(due) else 1.0
            for handle, _ in _poll(poll, pause):
                connection = opened[handle]
                if connection.receive():
                    connection.free_at = time.perf_counter()
                    load.latencies_s.append(connection.free_at - connection.since)
                    _check(load, connection, questions, may_refuse=True)
                    idle.append(connection)
                    answered += 1
        ended = time.perf_counter()
        load.seconds = max(ended - began, 1e-9)
        load.client_cpu_s = time.process_time() - cpu
        under_way = [connection.since for connection in opened.values() if connection not in idle]
        load.unanswered = len(due) - answered
        load.latencies_s += [ended - since for since in [*under_way, *due[sent:]]]
    return load


def _poll(poll: select.epoll, pause: float) -> list[tuple[int, int]]:
    """Wait for answers for at most so long; epoll itself would round the pause up to a millisecond."""
    if pause > 0:
        select.select([poll], [], [], pause)
    return poll.poll(0)


def _sleep_exactly() -> None:
    """Ask the kernel to wake this thread within a microsecond of its time, not within fifty."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0)


# -- answers -----------------------------------------------------------------------------------------------------------
def _check(
    load: Load, connection: _Connection, questions: list[Question], *, may_refuse: bool = False
) -> None:
    """Check every answer's status, and the numbers of one in CHECK_EVERY."""
    if not connection.received.startswith(b"HTTP/1.1 200"):
        if may_refuse and connection.received[9:12] in (b"429", b"503"):
            load.refused += 1
            return
        raise WrongAnswer(connection.received[:500].decode(errors="replace"))
    if len(load.latencies_s) % CHECK_EVERY:
        return
    load.checked += 1
    answer = json.loads(connection.received.partition(b"\r\n\r\n")[2])
    question = questions[connection.turn % len(questions)]
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    for name, wanted in question.expected.items():
        if any(abs(a - b) > 1e-6 for a, b in zip(outputs[name], wanted, strict=True)):
            raise WrongAnswer(f"{name} is {outputs[name]} and should be {wanted}")
