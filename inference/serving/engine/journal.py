"""Brings records to the spool, and tells when the answers that wait for them may leave."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

from inference.prediction_log.spool.segments import SpoolUnwritable, SpoolWriter
from inference.serving.engine.disk_sync import DiskSync, open_disk_sync
from inference.serving.options import Fsync

Settle = Callable[[OSError | None], None]


log = logging.getLogger(__name__)


class Journal:
    """Writes records in the order they come; belongs to the event loop that made it.

    `off` does not wait for the disk, nor does `interval`, which syncs what was written `sync_s` ago at the latest.
    `group` waits for one sync for all records that came while the one before was on its way. `always` syncs the records
    of each call by themselves before it goes on.
    """

    def __init__(
        self, writer: SpoolWriter, fsync: Fsync, before_next: Callable[[], object], *, sync_s: float = 0.1
    ) -> None:
        """Make a journal; `before_next` is called when a sync has ended, and may write for the next one."""
        self.in_flight_since_ns = 0  # of the process's monotonic clock; 0: no sync is on its way
        self._before_next = before_next
        self._writer = writer
        self._fsync = fsync
        self._sync: DiskSync | None = open_disk_sync() if fsync in ("group", "interval") else None
        self._sync_s = sync_s
        self._timer: asyncio.TimerHandle | None = None  # of the next sync that nobody waits for
        self._is_syncing = False  # without anybody who waits
        self._payloads: list[bytes] = []
        self._waiting: list[Settle] = []
        self._syncing: list[Settle] = []

    def write(self, payloads: Sequence[bytes], settle: Settle) -> None:
        """Take records; `settle` is called in the event loop with None once all are safe, else with the error.

        With `group` each of them waits for a sync of its own, so that what others write meanwhile waits for one of
        them and not for all. Where the disk fails half-way, those before are in the log without an answer.
        """
        if self._fsync != "group":
            error = self._append(payloads, sync=self._fsync == "always")
            if self._fsync == "interval" and error is None:
                self._sync_later()
            settle(error)
            return
        self._payloads.append(payloads[0])
        others = payloads[1:]
        self._waiting.append(partial(self._write_others, others, settle) if others else settle)

    def _write_others(self, payloads: Sequence[bytes], settle: Settle, error: OSError | None) -> None:
        if error is not None:
            settle(error)
            return
        self.write(payloads, settle)
        self.flush()

    @property
    def in_flight(self) -> bool:
        """Return whether the disk is at a sync."""
        return self.in_flight_since_ns > 0

    def flush(self) -> None:
        """Start to sync what waits, unless a sync is on its way: that one's end starts the next."""
        if self._sync is None or not self._waiting or self.in_flight:
            return
        payloads, self._payloads = self._payloads, []
        self._syncing, self._waiting = self._waiting, []
        self.in_flight_since_ns = time.perf_counter_ns()
        error = self._append(payloads, sync=False)
        if error is None:
            self._sync.start(self._writer.handle, self._finish_sync)
        else:
            self._settle(error)

    def _sync_written(self) -> None:
        """Bring what was written to the disk, for which nobody waits."""
        self._timer = None
        if self._is_syncing:
            self._sync_later()
        elif self._sync is not None and self._writer.handle >= 0:
            self._is_syncing = True
            done = partial(self._finish_background_sync, self._writer.segment)
            self._sync.start(self._writer.handle, done)

    def _sync_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._sync_s, self._sync_written)

    def _finish_background_sync(self, segment: int, code: int) -> None:
        self._is_syncing = False
        if code:
            reason = os.strerror(code)
            log.error("the spool was not synced: a power loss would cost its end", extra={"reason": reason})
            if segment == self._writer.segment:
                self._writer.abandon_segment()  # a sync that failed may not be repeated

    def _append(self, payloads: Sequence[bytes], *, sync: bool) -> SpoolUnwritable | None:
        try:
            self._writer.append(payloads, sync=sync)
        except SpoolUnwritable as error:
            return error
        return None

    def _finish_sync(self, code: int) -> None:
        if code:
            self._writer.abandon_segment()
        self._settle(OSError(code, os.strerror(code)) if code else None)

    def _settle(self, error: OSError | None) -> None:
        """Start the next sync, so that the disk is at work while the answers that waited for this one leave."""
        self.in_flight_since_ns = 0
        settled, self._syncing = self._syncing, []
        self._before_next()
        self.flush()
        for settle in settled:
            try:
                settle(error)
            except Exception:  # whoever waits behind it must not lose its own answer
                log.exception("an answer could not be written")

    def is_settled(self) -> bool:
        """Return whether every record taken is safe, and the disk at no sync."""
        return not self.in_flight and not self._is_syncing and not self._waiting

    def close(self) -> None:
        """Close the files; everything must be settled."""
        if self._timer is not None:
            self._timer.cancel()  # the writer syncs what is left when it closes
        if self._sync is not None:
            self._sync.close()
