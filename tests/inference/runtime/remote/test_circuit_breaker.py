"""When a shadow is left alone, and how it comes back."""

from inference.runtime.remote.circuit_breaker import CALLS_REMEMBERED, FAILURES_TO_OPEN, CircuitBreaker, State

PAUSE = 30.0


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(PAUSE)
    for _ in range(FAILURES_TO_OPEN):
        breaker.fail("timeout", now=0)
    return breaker


class TestCircuitBreaker:
    def test_opens_when_nothing_but_failures_came(self) -> None:
        breaker = CircuitBreaker(PAUSE)
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.fail("timeout", now=0)

        assert breaker.admits(0)
        breaker.fail("timeout", now=0)
        assert not breaker.admits(PAUSE - 1)

    def test_stays_closed_while_no_less_work_goes_well(self) -> None:
        breaker = CircuitBreaker(PAUSE)
        for _ in range(3 * FAILURES_TO_OPEN):
            breaker.succeed()
            breaker.fail("failed", now=0)

        assert breaker.state is State.CLOSED

    def test_stays_closed_for_one_caller_whose_work_fails_time_after_time(self) -> None:
        breaker = CircuitBreaker(PAUSE)
        for _ in range(CALLS_REMEMBERED):
            breaker.succeed()
        for _ in range(FAILURES_TO_OPEN):
            breaker.fail("his rows", now=0)

        assert breaker.state is State.CLOSED

    def test_opens_when_what_went_well_is_long_ago(self) -> None:
        breaker = CircuitBreaker(PAUSE)
        for _ in range(10 * CALLS_REMEMBERED):
            breaker.succeed()
        for _ in range(CALLS_REMEMBERED // 2):
            breaker.fail("timeout", now=0)
        assert breaker.state is State.CLOSED

        breaker.fail("timeout", now=0)

        assert breaker.state is State.OPEN

    def test_forgets_its_failures_when_it_closes(self) -> None:
        breaker = opened()
        breaker.admits(PAUSE)
        breaker.succeed()
        breaker.fail("timeout", now=PAUSE)

        assert breaker.state is State.CLOSED

    def test_lets_one_trial_through_after_the_pause(self) -> None:
        breaker = opened()

        assert [breaker.admits(PAUSE), breaker.admits(PAUSE)] == [True, False]
        assert breaker.state is State.HALF_OPEN

    def test_closes_when_the_trial_succeeds(self) -> None:
        breaker = opened()
        breaker.admits(PAUSE)
        breaker.succeed()

        assert breaker.admits(PAUSE)

    def test_opens_for_another_pause_when_the_trial_fails(self) -> None:
        breaker = opened()
        breaker.admits(PAUSE)
        breaker.fail("timeout", now=PAUSE)

        assert not breaker.admits(2 * PAUSE - 1)
        assert breaker.admits(2 * PAUSE)

    def test_tries_again_at_once_when_the_trial_was_not_made(self) -> None:
        breaker = opened()
        breaker.admits(PAUSE)
        breaker.give_back()

        assert breaker.admits(PAUSE)
