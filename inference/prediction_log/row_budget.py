"""How many rows a second a project may log through this process: a token bucket that a request may overdraw.

What a request costs is known when it has been read; it is taken whole, and those after it wait until it is paid for.
"""

import math
import threading
import time
from collections.abc import Callable

from driftline.common.errors import Problem

SAVED_SECONDS = 10.0  # of rows that were not sent, and may come at once


class RowBudget:
    """The rows that each project has left; `rows_per_second` gives the limit, 0 for none."""

    def __init__(
        self, rows_per_second: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._clock = rows_per_second, clock
        self._left: dict[int, tuple[float, float]] = {}  # by project: rows, and when they were counted
        self._lock = threading.Lock()

    def check(self, project_id: int) -> None:
        """Raise Problem 429 while the project owes rows."""
        limit = self._limit()
        if not limit:
            return
        with self._lock:
            left = self._left_now(project_id, limit)
        if left < 0:
            wait = math.ceil(-left / limit)
            detail = f"This project may log {limit:,} rows a second here; go on in {wait:,} s."
            raise Problem(429, "rate_limited", detail, retry_after=wait)

    def charge(self, project_id: int, rows: int) -> None:
        """Take the rows of a request."""
        limit = self._limit()
        if limit:
            with self._lock:
                self._left[project_id] = self._left_now(project_id, limit) - rows, self._clock()

    def _left_now(self, project_id: int, limit: int) -> float:
        most = limit * SAVED_SECONDS
        left, counted = self._left.get(project_id, (most, self._clock()))
        return min(left + (self._clock() - counted) * limit, most)
