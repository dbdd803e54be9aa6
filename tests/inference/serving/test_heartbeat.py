"""How long a counter has stood still, as its observer sees it."""

from inference.serving.heartbeat import Stillness


def observe(*looks: tuple[int, float]) -> float:
    """Give what an observer measures in the end who saw these values at these times."""
    stillness, seconds = Stillness(), 0.0
    for value, now in looks:
        seconds = stillness.observe(value, now)
    return seconds


class TestStillness:
    def test_adds_up_while_the_counter_does_not_move(self) -> None:
        assert observe((7, 100.0), (7, 100.5), (7, 101.0)) == 1.0

    def test_begins_anew_when_the_counter_moves(self) -> None:
        assert observe((7, 100.0), (7, 100.5), (8, 101.0), (8, 101.5)) == 0.5

    def test_does_not_count_what_passed_while_the_observer_was_stopped_too(self) -> None:
        assert observe((7, 100.0), (7, 3700.0), (7, 3700.5)) == 0.5

    def test_is_none_while_nothing_counts(self) -> None:
        assert observe((0, 100.0), (0, 100.5), (0, 101.0)) == 0.0
