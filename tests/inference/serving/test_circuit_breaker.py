"""When a shadow is left alone, and how it comes back."""

from inference.serving.circuit_breaker import FAILURES_TO_OPEN, CircuitBreaker, State

PAUSE = 30.0


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(PAUSE)
    for _ in range(FAILURES_TO_OPEN):
        breaker.fail("timeout", now=0)
    return breaker


class TestCircuitBreaker:
    def test_opens_after_failures_in_a_row(self) -> None:
        breaker = CircuitBreaker(PAUSE)
        for _ in range(FAILURES_TO_OPEN - 1):
            breaker.fail("timeout", now=0)

        assert breaker.admits(0)
        breaker.fail("timeout", now=0)
        assert not breaker.admits(PAUSE - 1)

    def test_forgets_failures_that_a_success_interrupts(self) -> None:
        breaker = CircuitBreaker(PAUSE)
        for _ in range(3 * FAILURES_TO_OPEN):
            breaker.fail("failed", now=0)
            breaker.succeed()

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
