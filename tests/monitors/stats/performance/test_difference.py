"""The difference of two estimates from different rows: Newcombe's published intervals, and what any interval keeps."""

import pytest

from monitors.stats.performance.estimate import Estimate, difference, share


@pytest.mark.parametrize(
    ("later", "earlier", "lower", "upper"),
    [  # method 10 in table II of Newcombe 1998, Statistics in Medicine 17, 873-890
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_agrees_with_published_intervals(
    later: tuple[int, int], earlier: tuple[int, int], lower: float, upper: float
) -> None:
    found = difference(share(*later), share(*earlier))

    assert (found.lower, found.upper) == pytest.approx((lower, upper), abs=5e-5)


def test_turned_round_it_is_the_mirror_image() -> None:
    there, back = difference(share(9, 10), share(3, 10)), difference(share(3, 10), share(9, 10))

    assert there.lower is not None
    assert (back.value, back.upper) == pytest.approx((-(there.value or 0), -there.lower))


def test_of_the_same_estimate_is_nothing_within_an_even_interval() -> None:
    found = difference(share(30, 100), share(30, 100))

    assert found.value == 0
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower == pytest.approx(-found.upper)


def test_without_one_interval_there_is_none() -> None:
    assert difference(Estimate(3.0, 10), Estimate(1.0, 20, 0.5, 1.5)) == Estimate(2.0, 30)


def test_without_one_value_there_is_no_difference() -> None:
    assert difference(Estimate(None, 0), share(1, 2)) == Estimate(None, 2)
