"""How many calls may be repeated: a share of all, so that a server in trouble is not asked twice as much."""

SHARE = 0.1
MAX_SAVED_RETRIES = 10.0


class RetryBudget:
    """Allows one retry for each ten calls, and a few at once after a long quiet time.

    Not safe for threads: its owner holds a lock.
    """

    def __init__(self) -> None:
        self._saved = 1.0

    def earn(self) -> None:
        """Take note of a call."""
        self._saved = min(self._saved + SHARE, MAX_SAVED_RETRIES)

    def spend(self) -> bool:
        """Take one retry; False where there is none left."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True
