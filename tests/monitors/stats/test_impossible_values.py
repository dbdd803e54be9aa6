"""How far a feature can reach, as far as its reference tells."""

from collections.abc import Callable

import numpy as np
import pytest

from monitors.stats.impossible_values import ValueRange, ValueReach, reach_of
from monitors.stats.mergeable.sketches import choose_centre, summarise_numbers

type Draw = Callable[[np.random.Generator, int], np.ndarray]

SHAPES: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
    "lognormal": lambda rng, n: rng.lognormal(sigma=2, size=n),
    "heavy tails": lambda rng, n: rng.standard_t(2.5, size=n),
    "no mean": lambda rng, n: rng.standard_cauchy(size=n),
    "pareto": lambda rng, n: rng.pareto(1.2, size=n),
    "counts": lambda rng, n: rng.poisson(1.5, size=n).astype(float),
    "rare counts": lambda rng, n: rng.poisson(0.03, size=n).astype(float),
    "zeros": lambda rng, n: np.where(rng.random(n) < 0.6, 0.0, rng.exponential(size=n)),
    "probabilities": lambda rng, n: rng.beta(0.5, 8, size=n),
    "warm days": lambda rng, n: np.round(rng.normal(15, 4, size=n)),
    "yes or no": lambda rng, n: (rng.random(n) < 0.3).astype(float),
}


def reach(values: np.ndarray) -> ValueReach:
    found = reach_of(summarise_numbers(values, centre=choose_centre(values)))
    assert found is not None
    return found


def possible(values: np.ndarray) -> ValueRange:
    return reach(values).possible


def beyond(possible: ValueRange, *values: float) -> int:
    return possible.count_beyond(summarise_numbers(values, centre=0.0))


@pytest.mark.parametrize("name", SHAPES)
def test_other_rows_of_the_same_kind_are_hardly_ever_impossible(name: str) -> None:
    rng = np.random.default_rng(0)

    noticed = [
        possible(SHAPES[name](rng, 1_000)).count_beyond(
            summarise_numbers(SHAPES[name](rng, 1_000), centre=0.0)
        )
        for _ in range(100)
    ]

    assert sum(rows > 0 for rows in noticed) <= 2
    assert sum(rows > 1 for rows in noticed) <= 1


@pytest.mark.parametrize("name", ["normal", "exponential", "probabilities", "warm days", "zeros"])
def test_what_lies_four_ranges_below_or_170_times_the_largest_is_impossible(name: str) -> None:
    known = SHAPES[name](np.random.default_rng(1), 5_000)
    span = known.max() - known.min()

    assert beyond(possible(known), known.min() - 4 * span, known.mean()) == 1
    assert beyond(possible(known), 170 * known.max()) == 1


@pytest.mark.parametrize("name", SHAPES)
def test_hardly_one_of_1000_windows_of_a_thirtieth_of_the_reference_has_an_implausible_value(
    name: str,
) -> None:
    rng = np.random.default_rng(0)

    noticed = 0
    for _ in range(10):
        plausible = reach(SHAPES[name](rng, 1_000)).plausible
        windows = SHAPES[name](rng, 3_300).reshape(100, 33)
        noticed += int(((windows < plausible.least) | (windows > plausible.most)).any(axis=1).sum())

    assert noticed <= 3


@pytest.mark.parametrize("sigma", [0.8, 1.2, 1.6])
def test_100_times_the_largest_of_thousands_of_rows_is_implausible_however_skewed_they_are(
    sigma: float,
) -> None:
    incomes = np.random.default_rng(1).lognormal(10, sigma, 5_000)

    assert beyond(reach(incomes).plausible, 100 * incomes.max(), *incomes[:500]) == 1


@pytest.mark.parametrize("largest", [90.0, 2_000.0])
def test_an_age_is_never_negative(largest: float) -> None:
    ages = np.concatenate([np.random.default_rng(2).integers(18, 91, 999).astype(float), [largest]])

    assert possible(ages).least == 0.0
    assert beyond(possible(ages), -3.0, 17.0, 91.0) == 1


def test_a_temperature_may_be_negative_though_none_was_yet() -> None:
    warm = np.random.default_rng(3).normal(20, 4, 2_000)

    assert beyond(possible(warm), -2.0) == 0


def test_a_share_of_300_percent_is_impossible() -> None:
    assert beyond(possible(np.random.default_rng(4).random(1_000)), 3.0, 0.99) == 1


def test_a_timestamp_is_impossible_where_nothing_is_nearly_as_large_however_heavy_the_tail() -> None:
    incomes = np.minimum(20_000 * np.random.default_rng(5).pareto(1.1, 2_000), 1e6)

    assert beyond(possible(incomes), 170e6, 1_764_288_000.0) == 1


def test_rows_of_one_value_tell_no_more_of_a_tail_than_one() -> None:
    """All flights of an hour have its rain: a month that saw little tells little of how much there can be."""
    rain = np.repeat([0.0, 0.01, 0.02, 0.03, 0.04, 0.06], [5_000, 90, 60, 40, 40, 20])

    assert beyond(possible(rain), 0.22) == 0


@pytest.mark.parametrize("values", [[1.0] * 500, [1.0, 2.0] * 40, []])
def test_a_reference_of_one_value_or_few_rows_tells_nothing(values: list[float]) -> None:
    assert reach_of(summarise_numbers(values, centre=0.0)) is None


def test_what_people_expect_is_possible() -> None:
    learnt = ValueRange(0.0, 200.0)

    assert beyond(learnt.including(-5.0, None), -3.0, 150.0) == 0
    assert beyond(learnt.including(18.0, 90.0), -3.0, 150.0) == 1  # what is expected narrows nothing
