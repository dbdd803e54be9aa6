"""Keeps work from what fails again and again, and lets one piece through now and then to see whether it has mended."""

from collections import deque
from enum import StrEnum

FAILURES_TO_OPEN = 5
CALLS_REMEMBERED = 20


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class CircuitBreaker:
    """Opens where five of the last 20 pieces of work failed, and more than half of them.

    So one caller whose work fails shuts out no others whose work goes well. After a pause it lets one trial through,
    which closes or opens it again. One thread may ask `admits` while another tells how the work went. Times are
    seconds of any steady clock.
    """

    def __init__(self, open_seconds: float) -> None:
        self.state = State.CLOSED
        self.last_failure: str | None = None
        self._open_seconds = open_seconds
        self._have_failed: deque[bool] = deque(maxlen=CALLS_REMEMBERED)
        self._opened_at = 0.0

    def admits(self, now: float) -> bool:
        """Return whether a piece of work may go on; a True while it is open is the trial."""
        if self.state is State.CLOSED:
            return True
        if self.state is State.OPEN and now - self._opened_at >= self._open_seconds:
            self.state = State.HALF_OPEN
            return True
        return False

    def seconds_shut(self, now: float) -> float:
        """Return for how long nothing is let through; 0 where the next piece of work is. Nothing is changed by asking.

        While a trial is under way its end decides, so the pause is given as it would be after a failure.
        """
        if self.state is State.CLOSED:
            return 0.0
        if self.state is State.HALF_OPEN:
            return self._open_seconds
        return max(self._open_seconds - (now - self._opened_at), 0.0)

    def give_back(self) -> None:
        """Take note that a trial was not made after all; the next piece of work is the trial."""
        if self.state is State.HALF_OPEN:
            self.state = State.OPEN

    def succeed(self) -> None:
        """Take note of work that went well."""
        if self.state is not State.CLOSED:
            self._have_failed.clear()
            self.state = State.CLOSED
        self._have_failed.append(False)

    def fail(self, reason: str, now: float) -> None:
        """Take note of work that failed."""
        self._have_failed.append(True)
        self.last_failure = reason
        failures = self._have_failed.count(True)
        has_majority_failed = failures >= FAILURES_TO_OPEN and 2 * failures > len(self._have_failed)
        if self.state is State.HALF_OPEN or has_majority_failed:
            self.state = State.OPEN
            self._opened_at = now
