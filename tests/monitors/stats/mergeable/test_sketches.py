import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.stats.mergeable.sketches import (
    MAX_LEVELS,
    CategoricalSummary,
    CentreMismatch,
    choose_centre,
    count_categories,
    merge_categories,
    merge_numbers,
    summarise_categories,
    summarise_numbers,
)
from tests.monitors.stats.columns import levels, numbers, real_columns, same_numbers


class TestNumericSummary:
    @given(st.lists(numbers, min_size=1, max_size=5), st.sampled_from([0.0, 1.5, -1e3]))
    def test_merge_of_parts_equals_the_whole(self, parts, centre):
        whole = summarise_numbers([value for part in parts for value in part], centre=centre)

        merged = merge_numbers([summarise_numbers(part, centre=centre) for part in parts])

        assert same_numbers(merged, whole)

    @given(numbers, st.randoms(use_true_random=False))
    def test_order_of_rows_does_not_matter(self, values, random):
        shuffled = random.sample(values, len(values))

        assert same_numbers(summarise_numbers(values, centre=0.0), summarise_numbers(shuffled, centre=0.0))

    def test_a_large_column_is_counted_like_its_small_parts(self):
        column = np.random.default_rng(0).normal(size=50_000)
        column[::7] = np.nan

        whole = summarise_numbers(column, centre=0.1)

        parts = [summarise_numbers(part, centre=0.1) for part in np.array_split(column, 100)]
        assert same_numbers(whole, merge_numbers(parts))

    @given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.booleans())
    def test_a_few_values_merge_with_many_in_either_order(self, few, is_first):
        many = np.random.default_rng(0).normal(size=2_000).tolist()
        parts = [few, many] if is_first else [many, few]

        merged = merge_numbers([summarise_numbers(part, centre=0.5) for part in parts])

        assert same_numbers(merged, summarise_numbers([*few, *many], centre=0.5))

    @given(
        st.floats(width=32, allow_nan=False, allow_infinity=False) | st.floats(-10, 10),
        st.sampled_from([0.0, 1.5, -1e3]),
    )
    def test_one_row_is_counted_as_each_of_two(self, value, centre):
        one, two = (summarise_numbers([value] * n, centre=centre) for n in (1, 2))

        assert (one.n, one.rows, one.keys.tolist()) == (1, 1, two.keys.tolist())
        assert (2 * one.counts).tolist() == two.counts.tolist()
        assert (2 * one.sums).tolist() == two.sums.tolist()
        assert (one.minimum, one.maximum, 2 * one.total) == (two.minimum, two.maximum, two.total)
        assert 2 * one.total_sq == two.total_sq
        assert one.distinct.values.tolist() == two.distinct.values.tolist()

    @pytest.mark.parametrize("value", [math.nan, None, math.inf, "text"])
    def test_one_row_without_a_number_has_no_cell(self, value):
        one, two = (summarise_numbers([value] * n, centre=0.5) for n in (1, 2))

        assert one.keys.size == one.n == 0
        assert (2 * one.missing, 2 * one.infinite, 2 * one.wrong_type) == (
            two.missing,
            two.infinite,
            two.wrong_type,
        )
        assert math.isnan(one.minimum)

    @pytest.mark.parametrize("name", real_columns(np.random.default_rng(0)))
    def test_moments_and_quantiles_are_those_of_the_rows(self, name):
        column = real_columns(np.random.default_rng(1))[name]
        centre = choose_centre(column)

        summary = summarise_numbers(column, centre=centre)

        assert summary.n == column.size
        assert summary.mean == pytest.approx(column.mean(), rel=1e-9)
        assert summary.std == pytest.approx(column.std(), rel=1e-6)
        asked = [0.0, 0.01, 0.25, 0.5, 0.9, 0.99, 1.0]
        exact = np.quantile(column, asked)
        # A cell is 1/128 of the distance to the centre wide.
        assert (np.abs(summary.quantile(asked) - exact) <= np.abs(exact - centre) / 100 + 1e-9).all()

    def test_quantiles_are_exact_for_whole_numbers(self):
        column = np.arange(100.0)

        summary = summarise_numbers(column, centre=50.0)

        assert summary.quantile(0.37) == pytest.approx(np.quantile(column, 0.37))

    def test_histogram_agrees_with_numpy(self):
        column = np.random.default_rng(0).integers(0, 50, size=1_000).astype(float)
        edges = np.linspace(-0.5, 49.5, 11)

        counted = summarise_numbers(column, centre=25.0).histogram(edges)

        assert counted.tolist() == np.histogram(column, edges)[0].tolist()

    def test_missing_and_infinite_values_are_counted_apart(self):
        summary = summarise_numbers([1.0, None, float("nan"), float("inf"), -1e300, 3.0], centre=0.0)

        assert (summary.n, summary.missing, summary.infinite, summary.rows) == (2, 2, 2, 6)
        assert (summary.minimum, summary.maximum) == (1.0, 3.0)

    def test_an_empty_column_has_no_moments(self):
        summary = summarise_numbers([], centre=0.0)

        assert summary.rows == 0
        assert math.isnan(summary.mean)
        assert math.isnan(summary.quantile(0.5))
        assert summary.histogram([0, 1, 2]).tolist() == [0, 0]

    def test_negative_zero_is_zero(self):
        assert summarise_numbers([-0.0, 0.0], centre=0.0).keys.size == 1

    def test_a_constant_has_no_spread(self):
        assert summarise_numbers([0.1] * 1000, centre=7.0).std == 0.0

    def test_different_centres_do_not_merge(self):
        with pytest.raises(CentreMismatch, match="recentred"):
            summarise_numbers([1.0], centre=0.0).merge(summarise_numbers([1.0], centre=1.0))

    def test_recentred_keeps_every_moment(self):
        column = np.random.default_rng(0).normal(1e6, 100, size=5_000)

        moved = summarise_numbers(column, centre=1e6).recentred(999_990.0)

        assert moved.centre == 999_990.0
        assert (moved.n, moved.minimum) == (5_000, column.min())
        assert moved.mean == pytest.approx(column.mean(), rel=1e-12)
        assert moved.std == pytest.approx(column.std(), rel=1e-9)


class TestCategoricalSummary:
    @given(st.lists(levels, min_size=1, max_size=5))
    def test_merge_of_parts_equals_the_whole(self, parts):
        whole = summarise_categories([value for part in parts for value in part])

        merged = merge_categories([summarise_categories(part) for part in parts])

        assert merged == whole

    def test_values_count_under_their_text(self):
        summary = summarise_categories(np.array([1, "1", True, None, float("nan")], dtype=object))

        # Python holds 1 and True for equal; a column of either kind alone keeps its own text.
        assert summary == CategoricalSummary(counts={"1": 3}, rest=0, missing=2, n=3)

    def test_counts_of_a_dictionary_encoded_column_give_the_same_summary(self):
        assert count_categories({"a": 2, None: 1}) == summarise_categories(["a", None, "a"])

    def test_levels_beyond_the_limit_are_counted_together(self):
        values = [f"level {i}" for i in range(MAX_LEVELS + 10)] + ["level 5009"] * 3

        summary = summarise_categories(values)

        assert len(summary.counts) == MAX_LEVELS
        assert summary.rest == 10
        assert summary.n == len(values)
        assert summary.counts["level 5009"] == 4
        assert not summary.exact
