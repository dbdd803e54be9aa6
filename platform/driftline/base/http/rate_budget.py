"""How much a second somebody may do through this process: token buckets that a request may overdraw.

What a request costs is known when it has been read; it is taken whole, and those after it wait until it is paid for.
Free of Django: serving processes count requests for inference by the same budgets.
"""

import threading
import time
from collections.abc import Callable
from copy import copy
from typing import Self

SAVED_SECONDS = 10.0  # of what was not used, and may come at once
MAX_TOKENS = 10_000  # with limits that are remembered


class Budget:
    """A limit of so many a second, and what is left of it."""

    __slots__ = ("_clock", "_counted_at", "_left", "_lock", "per_second")

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._left, self._counted_at = per_second * SAVED_SECONDS, clock()

    def owed_seconds(self) -> float:
        """Return the seconds until what was overdrawn is paid for; 0 where nothing is owed."""
        with self._lock:
            return max(-self._refill() / self.per_second, 0.0)

    def charge(self, amount: float) -> None:
        """Take so much, overdrawing where less is left."""
        with self._lock:
            self._left = self._refill() - amount

    def take(self, amount: float) -> float:
        """Take so much if it is there, else give the seconds until it is."""
        with self._lock:
            missing = amount - self._refill()
            if missing > 0:
                return missing / self.per_second
            self._left -= amount
            return 0.0

    def _refill(self) -> float:
        now = self._clock()
        self._left = min(
            self._left + (now - self._counted_at) * self.per_second, self.per_second * SAVED_SECONDS
        )
        self._counted_at = now
        return self._left


class TokenBudget:
    """What one API token may do; a limit of 0 is none. The quota of its project is charged with it, if there is one."""

    def __init__(
        self,
        requests_per_second: int,
        rows_per_second: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        quota: Budget | None = None,
    ) -> None:
        self.limits = requests_per_second, rows_per_second
        self.quota = quota
        self._requests = Budget(requests_per_second, clock) if requests_per_second else None
        self._rows = Budget(rows_per_second, clock) if rows_per_second else None

    def take_request(self) -> float:
        """Take a request, or give the seconds after which another may come."""
        for rows in (self.quota, self._rows):
            if rows is not None and (wait := rows.owed_seconds()) > 0:
                return wait
        return self._requests.take(1) if self._requests is not None else 0.0

    def charge_rows(self, rows: int) -> None:
        """Take the rows of a request."""
        for budget in (self.quota, self._rows):
            if budget is not None:
                budget.charge(rows)

    def beside(self, quota: Budget | None) -> Self:
        """Return this budget with the quota of a project beside it; what the token itself may do is counted once."""
        if quota is self.quota:
            return self
        both = copy(self)
        both.quota = quota
        return both

    @property
    def sentence(self) -> str:
        """Return which limit is reached, the project's quota or the token's own ones."""
        if self.quota is not None and self.quota.owed_seconds() > 0:
            return describe_quota(self.quota)
        requests, rows = self.limits
        named = [f"{requests:,} requests"] * bool(requests) + [f"{rows:,} rows"] * bool(rows)
        return f"This token may send {' and '.join(named)} a second to each serving process"


_budgets: dict[str, TokenBudget] = {}
_quotas: dict[int, Budget] = {}  # by project


def budget_of(
    digest: str, requests_per_second: int, rows_per_second: int, *, quota: Budget | None = None
) -> TokenBudget | None:
    """Return the budget of a token in this process; None without limits, and a new one once they change."""
    limits = requests_per_second, rows_per_second
    if not any(limits) and quota is None:
        return None
    budget = _budgets.get(digest)
    if budget is None or budget.limits != limits:
        if len(_budgets) >= MAX_TOKENS:
            _budgets.clear()
        budget = _budgets[digest] = TokenBudget(*limits)
    return budget.beside(quota)


def quota_of(project_id: int, rows_per_second: int | None) -> Budget | None:
    """Return what a project may log through this process, whichever way; None without a quota."""
    if not rows_per_second:
        return None
    quota = _quotas.get(project_id)
    if quota is None or quota.per_second != rows_per_second:
        quota = _quotas[project_id] = Budget(rows_per_second)
    return quota


def describe_quota(quota: Budget) -> str:
    """Return what a project may log, and who raises it."""
    return (
        f"This project has a quota of {quota.per_second:,} rows a second through each serving process, which an "
        "operator can raise"
    )
