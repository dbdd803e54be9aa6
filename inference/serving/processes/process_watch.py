"""Ends a serving process that stands still or takes too much memory, after it has answered those who wait there.

A kernel of ONNX Runtime that never ends holds the event loop, and nothing in the process can stop it. It does not
hold the interpreter, so a thread can still answer. Where even that is held, the parent ends the process. No limit of
the system bounds its memory: that would fail whoever asks next, and not the one who took most.
"""

import asyncio
import contextlib
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable

from inference.protocol.open_inference import OPEN_INFERENCE
from inference.serving.crashes import MARKS, STALLED, STARVED
from inference.serving.heartbeat import BEAT_SECONDS, STALL_SECONDS, Stillness
from inference.serving.http.connection import HotProtocol, write_response
from inference.serving.refusals import overloaded
from inference.serving.responses import write_answer
from inference.serving.status.machine_memory import resident_bytes

UNREAD_BYTES = 1 << 20
_RESTARTING = overloaded("A model held up the server, which starts anew; ask again.", retry_s=2.0)
log = logging.getLogger(__name__)


class ProcessWatch:
    """Watches from a thread that the event loop moves, which it shows by its beat, and how much memory is held."""

    def __init__(
        self, connections: Callable[[], Iterable[object]], plain_port: int | None, max_memory_bytes: int
    ) -> None:
        """Make a watch in the running event loop.

        `connections` lists those that are open, `plain_port` is where they come in, None under TLS; 0 bytes are no
        bound.
        """
        self._loop = asyncio.get_running_loop()
        self._max_memory_bytes = max_memory_bytes
        self._connections = connections
        self._plain_port = plain_port
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to beat, and to watch."""
        self._beat()
        threading.Thread(target=self._watch, name="process-watch", daemon=True).start()

    def stop(self) -> None:
        """Watch no more: the process ends by itself."""
        self._stopping.set()
        MARKS.stop_beating()

    def _beat(self) -> None:
        if not self._stopping.is_set():
            MARKS.beat_once()
            self._loop.call_later(BEAT_SECONDS, self._beat)

    def _watch(self) -> None:
        stillness = Stillness()
        while not self._stopping.wait(BEAT_SECONDS):
            if stillness.observe(MARKS.beat, time.monotonic()) > STALL_SECONDS:
                log.error("the event loop stands still; the process ends")
                self._end(STALLED)
            if 0 < self._max_memory_bytes < resident_bytes():
                log.error("the process holds too much memory and ends")
                self._end(STARVED)

    def _end(self, code: int) -> None:
        """Answer those who wait, and end at once."""
        try:
            connections = [one for one in list(self._connections()) if isinstance(one, HotProtocol)]
            known = set(map(_answer, connections))
            if self._plain_port is not None:
                _refuse_others(self._plain_port, known)
        finally:
            os._exit(code)


def _answer(connection: HotProtocol) -> int:
    """Send what is owed on a connection, also to a request that has come and was not read yet; return its handle."""
    handle = -1
    try:
        handle = connection.transport.get_extra_info("socket").fileno()
        is_plain = connection.transport.get_extra_info("ssl_object") is None
        if is_plain:  # to others only their transport can write
            with socket.socket(fileno=os.dup(handle)) as client:
                if _read_all(client):
                    connection.arriving_since = connection.arriving_since or time.monotonic()
                client.send(connection.last_response(_RESTARTING), socket.MSG_DONTWAIT)
    except (OSError, ValueError, AttributeError, RuntimeError):  # it may close while this thread looks at it
        log.warning("a request that waited got no answer", exc_info=True)
    return handle


def _refuse_others(port: int, known: set[int]) -> None:
    """Answer also what was accepted in the turn in which the loop got stuck, and has no protocol yet."""
    refusal = write_response(write_answer(OPEN_INFERENCE, _RESTARTING), b"", closing=True)
    for handle in set(map(int, os.listdir("/proc/self/fd"))) - known:
        with contextlib.suppress(OSError):  # of one that was closed meanwhile
            if stat.S_ISSOCK(os.fstat(handle).st_mode):
                with socket.socket(fileno=os.dup(handle)) as client:
                    if _has_come_to(port, client) and _read_all(client):
                        client.send(refusal, socket.MSG_DONTWAIT)


def _has_come_to(port: int, client: socket.socket) -> bool:
    """Return whether a socket is a connection to a port. Raises OSError for one that listens."""
    is_ip = client.family in (socket.AF_INET, socket.AF_INET6)
    return is_ip and bool(client.getpeername()) and client.getsockname()[1] == port


def _read_all(client: socket.socket) -> int:
    """Read what has come, so that closing the connection does not reset it; return the number of bytes."""
    size = 0
    try:
        while size < UNREAD_BYTES and (data := client.recv(65536, socket.MSG_DONTWAIT)):
            size += len(data)
    except BlockingIOError:
        pass
    return size
