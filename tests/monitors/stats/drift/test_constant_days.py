"""Which columns are of the calendar: one value within a day, another one on other days."""

import numpy as np
import pytest

from monitors.stats.drift.constant_days import is_constant_within_days
from monitors.stats.drift.reference_days import Days


def days_of(*counts: tuple[int, ...]) -> Days:
    return Days(np.array(counts, float), np.arange(len(counts)), 1.0, differ=True)


@pytest.mark.parametrize(
    ("days", "is_constant"),
    [
        (days_of((50, 0, 0), (0, 60, 0), (0, 0, 40)), True),
        (days_of(*[(50, 0)] * 30, *[(0, 50)] * 30), True),
        (days_of((500, 2), (1, 600)), True),
        (days_of((50, 0), (60, 0), (40, 0)), False),
        (days_of((30, 20), (0, 60), (40, 0)), False),
        (None, False),
    ],
    ids=["weekday", "month", "a few late rows", "constant for ever", "mixed", "unknown"],
)
def test_a_column_is_constant_within_days_and_not_for_ever(days: Days | None, is_constant: bool) -> None:
    assert is_constant_within_days(days) == is_constant
