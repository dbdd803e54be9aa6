"""Ids that the client makes for predictions: UUIDv7 (RFC 9562), each greater than the one before.

Ids that grow with time are much cheaper to store than random ones, and an item that is sent again with its id is
kept once.
"""

import os
import threading
import time
import uuid

_TICKS_A_MS = 4096  # the 12 bits after the milliseconds count fractions of one (RFC 9562, 6.2, method 3)


class _Ticks:
    """The clock in 1/4096 ms, never the same twice and never backwards within a process."""

    def __init__(self) -> None:
        self._last = 0
        self.unlock()

    def unlock(self) -> None:
        """A child process needs a lock of its own: its parent's may have been taken at the fork."""
        self._lock = threading.Lock()

    def next(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() * _TICKS_A_MS // 1_000_000)
            return self._last


_ticks = _Ticks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ticks.unlock)


def new_id() -> str:
    """Make an id."""
    milliseconds, fraction = divmod(_ticks.next(), _TICKS_A_MS)
    chance = int.from_bytes(os.urandom(8)) >> 2
    return str(uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | chance))
