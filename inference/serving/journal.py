"""Brings records to the spool, and tells when the answers that wait for them may leave."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Literal

from inference.prediction_log.spool import SpoolUnwritable, SpoolWriter, frame

Fsync = Literal["off", "group", "always"]
Settle = Callable[[SpoolUnwritable | None], None]
Entry = tuple[bytes, Settle]


class Journal:
    """Writes records in the order they come.

    `off` writes at once and does not wait for the disk. `group` syncs in a thread, one sync for all that came
    while the one before was on its way. `always` syncs every record by itself.
    """

    def __init__(self, writer: SpoolWriter, fsync: Fsync, on_idle: Callable[[], None]) -> None:
        """Make a journal of the running event loop; `on_idle` is called whenever a sync has ended."""
        self.in_flight = False
        self._writer = writer
        self._fsync = fsync
        self._on_idle = on_idle
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Entry] = []
        self._handed: SimpleQueue[list[Entry] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._sync_what_is_handed, name="spool", daemon=True)
        self._thread.start()

    def write(self, payload: bytes, settle: Settle) -> None:
        """Take a record; `settle` is called in the event loop with None once it is safe, else with the error."""
        if self._fsync == "off":
            settle(self._append([frame(payload)], sync=False))
        else:
            self._waiting.append((frame(payload), settle))

    def flush(self) -> None:
        """Start to sync what waits, unless a sync is on its way: that one's end starts the next."""
        if self._waiting and not self.in_flight:
            self.in_flight = True
            entries, self._waiting = self._waiting, []
            self._handed.put(entries)

    def close(self) -> None:
        """Wait for the sync on its way and end the thread."""
        self._handed.put(None)
        self._thread.join()

    def is_settled(self) -> bool:
        """Tell whether every record taken is safe."""
        return not self.in_flight and not self._waiting

    def _sync_what_is_handed(self) -> None:
        while (entries := self._handed.get()) is not None:
            frames = [framed for framed, _ in entries]
            if self._fsync == "always":
                errors = [self._append([framed], sync=True) for framed in frames]
            else:
                errors = [self._append(frames, sync=True)] * len(frames)
            self._loop.call_soon_threadsafe(self._settle, entries, errors)

    def _append(self, frames: list[bytes], *, sync: bool) -> SpoolUnwritable | None:
        try:
            self._writer.append(frames, sync=sync)
        except SpoolUnwritable as error:
            return error
        return None

    def _settle(self, entries: list[Entry], errors: list[SpoolUnwritable | None]) -> None:
        self.in_flight = False
        for (_, settle), error in zip(entries, errors, strict=True):
            settle(error)
        self.flush()
        self._on_idle()
