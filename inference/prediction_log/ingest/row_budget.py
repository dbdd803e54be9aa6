"""How many rows a second a project may log through this process: by a setting for all, and by its own quota."""

import math
import time
from collections.abc import Callable

from driftline.base.accounts.models import Project
from driftline.base.accounts.quotas import refuse_full
from driftline.base.errors import Problem
from driftline.base.http.rate_budget import Budget, describe_quota, quota_of


class RowBudget:
    """The rows that each project has left; `rows_per_second` gives the limit, 0 for none."""

    def __init__(
        self, rows_per_second: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._clock = rows_per_second, clock
        self._budgets: dict[int, Budget] = {}  # by project

    def check(self, project: Project) -> None:
        """Raise Problem 429 while the project owes rows, or holds as much as it may."""
        refuse_full(project)
        quota = quota_of(project.pk, project.max_rows_per_second)
        if quota is not None and (wait := math.ceil(quota.owed_seconds())) > 0:
            detail = f"{describe_quota(quota)}; go on in {wait:,} s."
            raise Problem(429, "quota_reached", detail, retry_after=wait)
        budget = self._find(project.pk)
        if budget is not None and (wait := math.ceil(budget.owed_seconds())) > 0:
            detail = f"This project may log {budget.per_second:,} rows a second here; go on in {wait:,} s."
            raise Problem(429, "rate_limited", detail, retry_after=wait)

    def charge(self, project: Project, rows: int) -> None:
        """Take the rows of a request."""
        if (quota := quota_of(project.pk, project.max_rows_per_second)) is not None:
            quota.charge(rows)
        budget = self._find(project.pk)
        if budget is not None:
            budget.charge(rows)

    def _find(self, project_id: int) -> Budget | None:
        limit = self._limit()
        if not limit:
            return None
        budget = self._budgets.get(project_id)
        if budget is None or budget.per_second != limit:
            budget = self._budgets[project_id] = Budget(limit, self._clock)
        return budget
