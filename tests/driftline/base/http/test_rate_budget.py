"""What a token may send a second, in each serving process."""

import pytest

from driftline.base.http import rate_budget
from driftline.base.http.rate_budget import SAVED_SECONDS, Budget, TokenBudget, budget_of


class Clock:
    seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_takes_what_was_saved_up_then_so_many_a_second(clock: Clock) -> None:
    budget = TokenBudget(2, 0, clock)

    taken = [budget.take_request() for _ in range(int(2 * SAVED_SECONDS))]
    refused = budget.take_request()
    clock.seconds += 0.5
    again = budget.take_request()

    assert set(taken) == {0.0}
    assert (refused, again) == (0.5, 0.0)


def test_refused_requests_cost_nothing(clock: Clock) -> None:
    budget = TokenBudget(1, 0, clock)
    for _ in range(100):
        budget.take_request()
    clock.seconds += 1

    assert budget.take_request() == 0.0


def test_rows_are_paid_for_before_the_next_request(clock: Clock) -> None:
    budget = TokenBudget(0, 100, clock)

    assert budget.take_request() == 0.0
    budget.charge_rows(int(100 * SAVED_SECONDS) + 250)

    assert budget.take_request() == pytest.approx(2.5)
    clock.seconds += 2.5
    assert budget.take_request() == 0.0


def test_what_a_token_may_send_is_counted_once_with_a_quota_and_without() -> None:
    quota, newer = Budget(1_000), Budget(2_000)
    try:
        api = budget_of("of both", 1, 5)
        serving = budget_of("of both", 1, 5, quota=quota)
        assert api is not None
        assert serving is not None
        for _ in range(int(SAVED_SECONDS)):
            serving.take_request()

        after = [
            budget_of("of both", 1, 5),
            budget_of("of both", 1, 5, quota=quota),
            budget_of("of both", 1, 5, quota=newer),
        ]

        assert all(one is not None and one.take_request() > 0 for one in [api, *after])
        serving.charge_rows(10_000)
        assert (quota.owed_seconds() > 0, newer.owed_seconds()) == (False, 0.0)
        assert "This token may send 1 requests and 5 rows" in api.sentence
    finally:
        rate_budget._budgets.pop("of both")


def test_one_budget_serves_all_who_ask_for_a_token_until_its_limits_change() -> None:
    first = budget_of("digest", 5, 0)
    same, changed, unlimited = budget_of("digest", 5, 0), budget_of("digest", 6, 0), budget_of("digest", 0, 0)
    rate_budget._budgets.pop("digest")

    assert first is same
    assert changed is not first
    assert unlimited is None
