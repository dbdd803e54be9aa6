"""What rows lose by the values of a column: means of the rows, and intervals that allow for hours."""

import numpy as np
import pytest

from monitors.stats.causes.value_losses import losses_by_value
from monitors.stats.segments.conditions import RowCondition

RNG = np.random.default_rng(5)
HOURS = np.repeat(np.arange(24), 50)


def test_a_category_has_a_line_for_each_frequent_level_and_one_for_what_is_missing() -> None:
    values = np.array(["a"] * 600 + ["b"] * 400 + [None] * 192 + ["rare"] * 8, object)
    losses = np.where(values == "b", 0.5, 0.1)

    found = losses_by_value("carrier", values, losses, RNG.permutation(HOURS))

    assert [(str(one.condition), one.n) for one in found] == [
        ("carrier = a", 600),
        ("carrier = b", 400),
        ("carrier is missing", 192),
    ]
    assert [one.mean for one in found] == pytest.approx([0.1, 0.5, 0.1])


def test_the_lines_of_a_number_hold_all_rows_and_average_to_their_mean() -> None:
    values, losses = RNG.normal(size=1_200), RNG.exponential(size=1_200)

    found = losses_by_value("temp", values, losses, HOURS)

    assert len(found) == 8
    assert sum(one.n for one in found) == 1_200
    assert sum(one.n * one.mean for one in found) / 1_200 == pytest.approx(losses.mean())


def test_intervals_hold_the_truth_although_rows_of_an_hour_resemble_each_other() -> None:
    values = RNG.choice(np.array(["a", "b"], object), HOURS.size)
    held = []
    for _ in range(200):
        losses = np.abs(RNG.normal(1.0, 0.1, 24)[HOURS] + RNG.normal(0, 0.01, HOURS.size))
        held += [
            one.lower is not None and one.upper is not None and one.lower <= 1.0 <= one.upper
            for one in losses_by_value("x", values, losses, HOURS)
        ]

    assert np.mean(held) > 0.9


def test_too_few_rows_have_a_mean_and_no_interval() -> None:
    values = np.array([1.0] * 5 + [2.0] * 40)

    few, many = losses_by_value("x", values, np.ones(45), np.zeros(45, np.int64))

    assert (few.condition, few.n, few.mean, few.lower) == (RowCondition("x", value="1"), 5, 1.0, None)
    assert many.lower is not None


@pytest.mark.parametrize("values", [np.empty(0), np.full(50, 2.0), np.array(["a"] * 50, object)])
def test_nothing_is_told_of_a_column_that_does_not_tell_rows_apart(values: np.ndarray) -> None:
    assert losses_by_value("x", values, np.ones(len(values)), np.zeros(len(values), np.int64)) == []
