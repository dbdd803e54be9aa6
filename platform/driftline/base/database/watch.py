"""Ends what waits for a database that stands still.

A server that is frozen, as by SIGSTOP or a dead disk, keeps its sockets open and answers nothing: its own
`statement_timeout` does not run, and on a Unix socket TCP's time-outs do not exist. So a serving process asks it a
question of its own whenever a request takes long. Where no answer comes, the sockets of all connections are shut down,
which ends every wait, and no other request waits until the database has answered again.
"""

import contextlib
import errno
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE

SLOW_SECONDS = 0.4  # for which a request runs before the database is asked whether it answers
ANSWER_SECONDS = 1.0  # within which it has to
TICK_SECONDS = 0.1


class Silent(Exception):
    """The database does not answer."""


class DatabaseWatch:
    """Watches over the connections of a process that answers requests; `start` it there."""

    def __init__(self) -> None:
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._running: dict[int, float] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._is_silent = False

    @property
    def is_watching(self) -> bool:
        """Return whether this process watches its database."""
        return self._thread is not None

    def start(self, parameters: Callable[[], dict[str, Any]]) -> None:
        """Watch, by a thread and a connection of its own; `parameters` are those of psycopg2."""
        self._stop.clear()
        self._thread = threading.Thread(
            target=self._run, args=(parameters,), name="database watch", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread, self._is_silent = None, False

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Count what is done inside, in this thread, as one request's."""
        self._running[threading.get_ident()] = time.monotonic()
        try:
            yield
        finally:
            self._running.pop(threading.get_ident(), None)

    def follow(self, connection: Any) -> None:
        """Shut this connection down too, should the database fall silent."""
        with self._lock:
            self._connections.add(connection)
        self.refuse_while_silent()

    def refuse_while_silent(self) -> None:
        """Raise psycopg2's error of a database that is away, in place of waiting for it."""
        if self._is_silent:
            raise psycopg2.OperationalError("the database does not answer")

    def _run(self, parameters: Callable[[], dict[str, Any]]) -> None:
        probe = _Probe(parameters)
        while not self._stop.wait(TICK_SECONDS):
            if not self._is_silent and not self._has_slow_request():
                continue
            try:
                probe.ask()
            except Silent:
                self._is_silent = True
                self._shut_down()
            else:
                self._is_silent = False
        probe.close()

    def _has_slow_request(self) -> bool:
        began = min(list(self._running.values()), default=None)
        return began is not None and time.monotonic() - began > SLOW_SECONDS

    def _shut_down(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with (
                contextlib.suppress(psycopg2.Error, OSError),
                socket.socket(fileno=_copy_of(connection)) as end,
            ):
                end.shutdown(socket.SHUT_RDWR)


def _copy_of(connection: Any) -> int:
    return os.dup(connection.fileno())


class _Probe:
    """A connection that asks whether the database answers, and does not wait longer than it means to."""

    def __init__(self, parameters: Callable[[], dict[str, Any]]) -> None:
        self._parameters = parameters
        self._connection: Any = None

    def ask(self) -> None:
        """Raise Silent where no answer comes; one that the database is away or full is an answer."""
        until = time.monotonic() + ANSWER_SECONDS
        try:
            if self._connection is None:
                self._connection = psycopg2.connect(**self._parameters(), async_=True)
                self._wait(until)
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                self._wait(until)
        except Silent:
            self.close()
            raise
        except psycopg2.Error as error:
            self.close()
            if os.strerror(errno.EAGAIN) in str(error):  # nobody takes connections from the socket's queue
                raise Silent from error

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg2.Error):
                self._connection.close()
            self._connection = None

    def _wait(self, until: float) -> None:
        while (state := self._connection.poll()) != POLL_OK:
            remaining_seconds = until - time.monotonic()
            if remaining_seconds <= 0:
                raise Silent
            ends = [self._connection.fileno()]
            reads, writes = (ends if state == POLL_READ else []), (ends if state == POLL_WRITE else [])
            select.select(reads, writes, [], remaining_seconds)


WATCH = DatabaseWatch()
REPLICA_WATCH = DatabaseWatch()
