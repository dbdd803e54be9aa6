"""How long a version's runs take: predicted from what they took, and learned with each."""

import math
import sys

INLINE_SECONDS = 0.001  # a longer run would hold up the other requests of the event loop
DOWN, UP = 1 / 4, 1 / 16  # shares of a surprise that are believed: a pause of the machine only ever adds
MAX_SURPRISE_RATIO = 4  # times the prediction that one run is believed to have taken
TRIED_ROWS = 32  # of the trial
MAX_STEP = 4  # times the rows that were ever run: the cost of some models grows faster than their rows


class RunCost:
    """Predicts the seconds of a run: so much for its first row, and so much for each further one."""

    def __init__(self, first_row: float, each_row: float, *, needs_thread: bool = False) -> None:
        """Begin with what a trial took; infinity where it failed and nothing is known.

        A run that `needs_thread` never happens in the event loop, however quick it is: it waits for another server,
        or one number in a request may make it long.
        """
        self._needs_thread = needs_thread
        self._tried_rows = TRIED_ROWS
        self._first_row = first_row
        self._each_row = each_row
        self.inline_rows = 0
        self._set_inline_rows()

    def _set_inline_rows(self) -> None:
        """Find how many rows run within INLINE_SECONDS: asked for each request, it changes with each run only."""
        if self._needs_thread or self._first_row > INLINE_SECONDS:
            self.inline_rows = 0
        elif self._each_row <= 0:
            self.inline_rows = sys.maxsize
        else:
            self.inline_rows = int((INLINE_SECONDS - self._first_row) / self._each_row) + 1
        self.inline_rows = min(self.inline_rows, MAX_STEP * self._tried_rows)

    @property
    def is_known(self) -> bool:
        """Return whether anything is known."""
        return not math.isinf(self._first_row)

    def seconds(self, rows: int) -> float:
        """Predict a run of so many rows; infinity while nothing is known."""
        return self._first_row + self._each_row * (rows - 1)

    def finite_seconds(self, rows: int) -> float:
        """Predict a run of so many rows; 0 while nothing is known."""
        seconds = self._first_row + self._each_row * (rows - 1)
        return seconds if seconds < math.inf else 0.0

    def rows_within(self, seconds: float, max_rows: int) -> int:
        """Return the largest run that takes no longer, from 1 to `max_rows` rows.

        Where the first row alone takes long, runs are twice as long as that: smaller ones would spend most of
        their time on what each of them repeats.
        """
        if not self.is_known:
            return 1
        seconds = max(seconds, 2 * self._first_row)
        if self.seconds(max_rows) <= seconds:
            return max_rows
        return min(max(int((seconds - self._first_row) / self._each_row) + 1, 1), max_rows)

    def learn(self, rows: int, seconds: float) -> None:
        """Move the prediction towards what a run took."""
        self._tried_rows = max(self._tried_rows, rows)
        self._learn(rows, seconds)
        self._set_inline_rows()

    def _learn(self, rows: int, seconds: float) -> None:
        if not self.is_known:
            self._first_row = self._each_row = seconds / rows
            return
        expected = self.seconds(rows)
        surprise = min(seconds, MAX_SURPRISE_RATIO * expected) - expected
        surprise *= UP if surprise > 0 else DOWN
        if rows == 1:
            self._first_row += surprise
            return
        self._each_row += surprise / (rows - 1)
        if self._each_row < 0:  # then the first row was taken for dearer than it is
            self._first_row = max(self._first_row + self._each_row * (rows - 1), 0.0)
            self._each_row = 0.0

    def expect(self, seconds: float) -> None:
        """Expect any run to take as long as one that had to be ended, until others prove quicker."""
        self._first_row = max(self._first_row, seconds)
        self._set_inline_rows()
