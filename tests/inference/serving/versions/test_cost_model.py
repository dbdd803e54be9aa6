"""Predictions of a run's length."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.serving.versions.cost_model import RunCost

seconds = st.floats(1e-6, 1.0)


class TestRunCost:
    @pytest.mark.parametrize("first_row", [1e-6, 1e-3, 0.2])
    @pytest.mark.parametrize("each_row", [0.0, 1e-6, 1e-3])
    def test_learns_what_runs_really_take(self, first_row: float, each_row: float) -> None:
        cost = RunCost(1e-5, 1e-6)

        for _ in range(200):
            for rows in (1, 100):
                cost.learn(rows, first_row + each_row * (rows - 1))

        assert cost.seconds(1) == pytest.approx(first_row, rel=0.1)
        assert cost.seconds(1000) == pytest.approx(first_row + each_row * 999, rel=0.1)

    def test_believes_no_pause_of_the_machine(self) -> None:
        cost = RunCost(1e-5, 1e-6)

        cost.learn(1, 0.5)

        assert cost.seconds(1) < 1.3e-5

    def test_begins_to_know_with_the_first_run(self) -> None:
        cost = RunCost(math.inf, 0.0)
        unknown = cost.seconds(1)

        cost.learn(4, 0.4)

        assert math.isinf(unknown)
        assert math.isclose(cost.seconds(4), 0.4)

    @given(seconds, seconds, st.floats(1e-4, 1.0))
    def test_gives_the_largest_run_within_a_time(
        self, first_row: float, each_row: float, within: float
    ) -> None:
        cost = RunCost(first_row, each_row)

        rows = cost.rows_within(within, 1024)

        bound = max(within, 2 * first_row) * (1 + 1e-9)
        assert rows == 1 or cost.seconds(rows) <= bound
        assert rows == 1024 or cost.seconds(rows + 1) > bound * (1 - 1e-6)

    def test_cuts_no_run_whose_rows_cost_nothing(self) -> None:
        assert RunCost(0.5, 0.0).rows_within(0.01, 1024) == 1024
