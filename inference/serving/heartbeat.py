"""For how long a counter has stood still: how a serving process and its parent see that its event loop is stuck."""

BEAT_SECONDS = 0.25  # between two steps of the counter
STALL_SECONDS = 2.0  # after which the process answers those who wait, and ends
KILL_SECONDS = 3.0  # after which its parent ends it: something holds the interpreter as well
MAX_GAP_SECONDS = 0.75  # between two looks: whoever looks later was stopped too, as a whole machine can be


class Stillness:
    """Measures for how long a counter has not moved, in the observer's time.

    What passes while the observer itself does not look is not counted: both may have been stopped together.
    """

    def __init__(self) -> None:
        self._value = 0
        self._seconds = 0.0
        self._looked_at = 0.0

    def observe(self, value: int, now: float) -> float:
        """Return the seconds since the counter moved; 0 where it is not counting, which it says by the value 0."""
        gap = now - self._looked_at
        self._looked_at = now
        if value != self._value or value == 0:
            self._value, self._seconds = value, 0.0
        elif gap <= MAX_GAP_SECONDS:
            self._seconds += gap
        return self._seconds
