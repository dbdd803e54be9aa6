"""Brings records to the spool, and tells when the answers that wait for them may leave."""

import os
from collections.abc import Callable
from typing import Literal

from inference.prediction_log.spool import SpoolUnwritable, SpoolWriter, frame
from inference.serving.disk_sync import DiskSync, open_disk_sync

Fsync = Literal["off", "group", "always"]
Settle = Callable[[OSError | None], None]


class Journal:
    """Writes records in the order they come; belongs to the event loop that made it.

    `off` does not wait for the disk. `group` waits for one sync for all records that came while the one before
    was on its way. `always` syncs each record by itself before it goes on.
    """

    def __init__(self, writer: SpoolWriter, fsync: Fsync) -> None:
        self.in_flight = False
        self._writer = writer
        self._fsync = fsync
        self._sync: DiskSync | None = open_disk_sync() if fsync == "group" else None
        self._frames: list[bytes] = []
        self._waiting: list[Settle] = []
        self._syncing: list[Settle] = []

    def write(self, payload: bytes, settle: Settle) -> None:
        """Take a record; `settle` is called in the event loop with None once it is safe, else with the error."""
        if self._fsync == "group":
            self._frames.append(frame(payload))
            self._waiting.append(settle)
        else:
            settle(self._append([frame(payload)], sync=self._fsync == "always"))

    def flush(self) -> None:
        """Start to sync what waits, unless a sync is on its way: that one's end starts the next."""
        if self._sync is None or not self._waiting or self.in_flight:
            return
        frames, self._frames = self._frames, []
        self._syncing, self._waiting = self._waiting, []
        self.in_flight = True
        error = self._append(frames, sync=False)
        if error is None:
            self._sync.start(self._writer.handle, self._finish_sync)
        else:
            self._settle(error)

    def _append(self, frames: list[bytes], *, sync: bool) -> SpoolUnwritable | None:
        try:
            self._writer.append(frames, sync=sync)
        except SpoolUnwritable as error:
            return error
        return None

    def _finish_sync(self, code: int) -> None:
        if code:
            self._writer.abandon_segment()
        self._settle(OSError(code, os.strerror(code)) if code else None)

    def _settle(self, error: OSError | None) -> None:
        self.in_flight = False
        settled, self._syncing = self._syncing, []
        for settle in settled:
            settle(error)
        self.flush()

    def is_settled(self) -> bool:
        """Tell whether every record taken is safe."""
        return not self.in_flight and not self._waiting

    def close(self) -> None:
        """Let go of the disk; everything must be settled."""
        if self._sync is not None:
            self._sync.close()
