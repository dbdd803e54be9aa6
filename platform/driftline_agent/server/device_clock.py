"""The device's clock, which may be wrong by years, measured against the server's.

Rows keep the time since the machine started, which no correction of the clock changes. What the server's `Date` was at
such a time gives their true time, also of rows that were stored before anybody knew it.
"""

import time
import uuid
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DATE_STEP_MS = 1000
"""`Date` has whole seconds."""
MAX_DATE_AGE_MS = 2500
"""The server's clock was at most so much further: servers write `Date` anew about each second, and a busy one later."""


class DeviceClock:
    """The time since the start of the machine, and the server's time at its zero as far as it is known."""

    def __init__(self) -> None:
        self.boot = _read_boot()
        self._lower: int | None = None
        self._upper = 0
        self._heard = 0

    def running_ms(self) -> int:
        """Return the milliseconds since the machine started, with those that it slept."""
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        seconds = time.clock_gettime_ns(clock) if clock is not None else time.monotonic_ns()
        return seconds // 1_000_000

    def wall_ms(self) -> int:
        """Return what the device takes for the time, in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    @property
    def zero_ms(self) -> int | None:
        """The server's time when `running_ms` was 0; None before the server was heard of.

        No `Date` is ahead of the server. How far the latest of n is behind it, is about a step's part in n + 1.
        """
        return None if self._lower is None else self._lower + DATE_STEP_MS // (self._heard + 1)

    def observe(self, date_ms: int, *, sent_ms: int, received_ms: int) -> None:
        """Learn from a `Date` between two times of `running_ms`.

        What all answers together allow is kept: many of them are exacter than the second of one. An answer that
        contradicts them, because the server's clock was set, begins anew.
        """
        lower, upper = date_ms - received_ms, date_ms + MAX_DATE_AGE_MS - sent_ms
        self._heard += 1
        if self._lower is not None and max(lower, self._lower) <= min(upper, self._upper):
            lower, upper = max(lower, self._lower), min(upper, self._upper)
        else:
            self._heard = 1
        self._lower, self._upper = lower, upper

    def server_ms(self) -> int | None:
        """Return the server's time; None before the server was heard of."""
        return None if self.zero_ms is None else self.zero_ms + self.running_ms()

    def skew_ms(self) -> int | None:
        """Return how far the device's clock is behind the server's; None before the server was heard of."""
        server_ms = self.server_ms()
        return None if server_ms is None else server_ms - self.wall_ms()


def _read_boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return uuid.uuid4().hex  # the process takes the place of the machine's start
