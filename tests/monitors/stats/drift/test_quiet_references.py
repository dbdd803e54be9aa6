"""References as models of few rows a day have them: quiet windows stay quiet, and a fault is noticed."""

import numpy as np
import pytest

from tests.performance.quiet_days import SHAPES, Quiet, false_alarms, weeks_to_notice

pytestmark = pytest.mark.slow

SPREADS = (0.0, 0.5)  # of the levels of days, in standard deviations of the rows of one


@pytest.mark.parametrize(("rows", "length"), [(24, 1), (24, 7), (120, 1)])
def test_of_a_thousand_quiet_windows_at_most_ten_are_flagged_whatever_the_days_of_the_reference(rows, length):
    rng = np.random.default_rng([rows, length])

    flagged = [
        false_alarms(Quiet(rows, spread, columns=2), shape, rng, length=length, references=1, windows=40)
        for shape in SHAPES.values()
        for spread in SPREADS
    ]

    assert np.mean(flagged) <= 0.010


@pytest.mark.parametrize("shape", ["whole", "partial ends"])
def test_a_fault_of_two_fifths_of_a_standard_deviation_is_noticed_within_three_weeks_at_24_rows_a_day(shape):
    rng = np.random.default_rng(24)

    noticed = [weeks_to_notice(Quiet(24, 0.0), SHAPES[shape], rng, shift=0.4) for _ in range(10)]

    assert sum(weeks is not None for weeks in noticed) >= 9
