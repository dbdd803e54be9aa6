import numpy as np
import pytest

from monitors.stats.performance.estimate import Estimate, share
from monitors.stats.performance.gaps import widest_gap


def test_the_bounds_of_two_groups_are_newcombes():
    # Newcombe (1998), "Interval estimation for the difference between independent proportions", example (a): 56 of
    # 70 against 48 of 80 gives 0.0524 to 0.3339 by the score method.
    gap = widest_gap({"first": share(56, 70), "second": share(48, 80)})

    assert gap is not None
    assert (gap.highest, gap.lowest, gap.estimate.n) == ("first", "second", 70)
    assert gap.estimate.value == pytest.approx(0.2)
    assert (gap.estimate.lower, gap.estimate.upper) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_equal_groups_seldom_show_a_gap_that_is_none_however_many_there_are():
    rng = np.random.default_rng(0)
    alarms = 0

    for _ in range(400):
        groups = {str(i): share(int(rng.binomial(200, 0.8)), 200) for i in range(12)}
        gap = widest_gap(groups)
        assert gap is not None
        alarms += gap.estimate.lower > 0

    assert alarms / 400 <= 0.05


def test_a_real_gap_is_covered():
    rng = np.random.default_rng(0)
    covered = 0

    for _ in range(400):
        groups = {"a": share(int(rng.binomial(300, 0.9)), 300), "b": share(int(rng.binomial(150, 0.7)), 150)}
        gap = widest_gap(groups)
        assert gap is not None
        covered += gap.estimate.lower <= 0.2 <= gap.estimate.upper

    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize("groups", [{}, {"a": share(5, 9)}, {"a": share(5, 9), "b": Estimate(None, 0)}])
def test_fewer_than_two_groups_have_no_gap(groups):
    assert widest_gap(groups) is None
