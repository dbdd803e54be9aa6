"""Ends a serving process that stands still or takes too much memory, after it has answered those who wait there.

A kernel of ONNX Runtime that never ends holds the event loop, and nothing in the process can stop it. It does not
hold the interpreter, so a thread can still answer. Where even that is held, the parent ends the process. No limit of
the system bounds its memory: that would fail whoever asks next, and not the one who took most.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable

from inference.runtime.machine_memory import resident_bytes
from inference.serving.crashes import MARKS, STALLED, STARVED
from inference.serving.heartbeat import BEAT_SECONDS, STALL_SECONDS, Stillness
from inference.serving.processes.last_answers import answer_all

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
            answer_all(list(self._connections()), self._plain_port)
        finally:
            os._exit(code)
