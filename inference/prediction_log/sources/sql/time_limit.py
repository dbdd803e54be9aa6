"""Ends what a database does not answer in time, which no time-out of a server or a socket does."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Timer

from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.sql.database import CONNECT_SECONDS, STATEMENT_SECONDS, TOO_LATE


class TimeLimit:
    """Cuts one connection, by a duplicate of its socket, where a step on it takes too long."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket, self._deadline = connected, deadline
        self._is_cut = False

    def close(self) -> None:
        """Close the duplicate."""
        self._socket.close()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Limit what is done inside to the time of a statement, and to the deadline of all; raises ConnectorFailed."""
        seconds = min(STATEMENT_SECONDS + CONNECT_SECONDS, self._deadline - time.monotonic())
        if seconds <= 0:
            raise ConnectorFailed(TOO_LATE)
        timer = Timer(seconds, self._cut)
        timer.start()
        try:
            yield
        except Exception as error:
            if self._is_cut:
                raise ConnectorFailed(TOO_LATE) from error
            raise
        finally:
            timer.cancel()

    def _cut(self) -> None:
        self._is_cut = True
        with suppress(OSError):  # it may be closed already
            self._socket.shutdown(socket.SHUT_RDWR)
