"""What changed in a column, in words."""

import numpy as np
import pytest

from monitors.stats.drift.in_words import describe_change
from monitors.stats.mergeable.sketches import (
    CategoricalSummary,
    NumericSummary,
    summarise_categories,
    summarise_numbers,
)


def numbers(middle: float, spread: float, *, missing: int = 0, n: int = 2_000) -> NumericSummary:
    values = np.random.default_rng(0).normal(middle, spread, n)
    values[:missing] = np.nan
    return summarise_numbers(values, centre=680.0)


def levels(**counts: int) -> CategoricalSummary:
    return summarise_categories([name for name, n in counts.items() for _ in range(n)])


def test_leads_with_what_concerns_most_rows() -> None:
    before, after = numbers(680, 60, missing=40), numbers(668, 60, missing=460)

    assert describe_change(before, after) == ["missing values 2.0% → 23%", "median 678 → 666"]


def test_names_a_middle_that_moved() -> None:
    [clause] = describe_change(numbers(680, 60), numbers(612, 60))

    assert clause == "median 678 → 610"


def test_names_a_width_that_grew() -> None:
    [clause] = describe_change(numbers(680, 20), numbers(680, 80))

    assert clause.startswith("5th to 95th percentile 64")


def test_names_the_mean_of_a_flag_of_which_the_median_stays() -> None:
    before, after = (summarise_numbers([1.0] * n + [0.0] * (100 - n), centre=0.0) for n in (10, 40))

    assert describe_change(before, after) == ["mean 0.1 → 0.4"]


def test_names_a_new_category_and_the_one_that_it_took_rows_from() -> None:
    clauses = describe_change(levels(car=60, house=40), levels(car=50, house=40, crypto=10))

    assert clauses == ["new category crypto, 10%", "car 60% → 50%"]


def test_shortens_a_long_category() -> None:
    [clause, _] = describe_change(levels(a=100), levels(a=50, **{"b" * 200: 50}))

    assert len(clause) < 70


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (numbers(680, 60), numbers(680, 60)),
        (levels(a=10), levels(a=20)),
        (summarise_numbers([], centre=0.0), numbers(680, 60)),
        (summarise_numbers([5.0] * 10, centre=0.0), summarise_numbers([5.0] * 10, centre=0.0)),
    ],
)
def test_has_no_word_for_what_did_not_change(before: NumericSummary, after: NumericSummary) -> None:
    assert describe_change(before, after) == []


def test_finds_words_where_the_reference_never_varied() -> None:
    before, after = (summarise_numbers([value] * 10, centre=0.0) for value in (5.0, 6.0))

    assert describe_change(before, after) == ["median 5 → 6"]


def test_says_nothing_of_kinds_that_differ_but_what_is_missing() -> None:
    assert describe_change(numbers(680, 60), levels(a=10)) == []
