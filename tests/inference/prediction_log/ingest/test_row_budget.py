"""A project that logs more rows a second than it may is told when to go on; others are not held up."""

import pytest

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.base.http.rate_budget import SAVED_SECONDS
from inference.prediction_log.ingest.row_budget import RowBudget

ONE = Project(pk=1)


class Clock:
    seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> RowBudget:
    return RowBudget(lambda: 100, clock)


def waits(budget: RowBudget, project: Project = ONE) -> int | None:
    """Give the seconds that a project has to wait; None where it may send more."""
    try:
        budget.check(project)
    except Problem as problem:
        return problem.retry_after
    return None


def test_what_was_saved_up_may_come_at_once(budget: RowBudget) -> None:
    budget.charge(ONE, int(100 * SAVED_SECONDS))

    assert waits(budget) is None


def test_what_is_overdrawn_is_waited_for(budget: RowBudget, clock: Clock) -> None:
    budget.charge(ONE, int(100 * SAVED_SECONDS) + 250)

    assert waits(budget) == 3
    clock.seconds += 2
    assert waits(budget) == 1
    clock.seconds += 0.5
    assert waits(budget) is None


def test_no_more_is_saved_up_than_a_while_of_rows(budget: RowBudget, clock: Clock) -> None:
    budget.charge(ONE, 1)
    clock.seconds += 1_000_000
    budget.charge(ONE, int(100 * SAVED_SECONDS) + 100)

    assert waits(budget) == 1


def test_one_project_does_not_pay_for_another(budget: RowBudget) -> None:
    budget.charge(ONE, 1_000_000)

    assert waits(budget, project=Project(pk=2)) is None


def test_without_a_limit_nothing_is_counted(clock: Clock) -> None:
    budget = RowBudget(lambda: 0, clock)
    budget.charge(ONE, 1_000_000)

    assert waits(budget) is None
