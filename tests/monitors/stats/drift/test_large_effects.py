"""A limit that not even a large effect would reach tells nothing."""

from datetime import date

import numpy as np
import pytest

from monitors.stats.drift.distances import KERNELS, compare
from monitors.stats.drift.large_effects import large_effects
from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.drift.reference_days import count_days
from monitors.stats.drift.thresholds import resample_null
from monitors.stats.mergeable.sketches import merge_numbers, summarise_categories, summarise_numbers

SHAPES = {
    "normal": lambda rng, n: rng.normal(0, 1, n),
    "skewed": lambda rng, n: rng.lognormal(0, 1.5, n),
    "mostly nought": lambda rng, n: np.where(rng.random(n) < 0.6, 0.0, rng.exponential(1, n)),
}
FEW_VALUES = {
    "constant": lambda rng, n: np.full(n, 7.0),
    "rare flag": lambda rng, n: (rng.random(n) < 0.01).astype(float),
    "nearly all missing": lambda rng, n: np.where(rng.random(n) < 0.97, np.nan, rng.normal(0, 1, n)),
    "all missing": lambda rng, n: np.full(n, np.nan),
}


class TestTheLargeEffect:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_of_a_number_is_what_a_window_shows_that_moved_by_three_deviations(self, shape):
        values = SHAPES[shape](np.random.default_rng(0), 5_000)
        reference = prepare_reference(summarise_numbers(values, centre=0.0))

        expected = large_effects(reference, 5_000)

        moved = [
            compare(reference, summarise_numbers(values + sign * 3 * values.std(), centre=0.0))
            for sign in (1, -1)
        ]
        for name, value in expected.items():
            measured = max(KERNELS[name].measure(pair).value for pair in moved)
            assert value == pytest.approx(measured, rel=0.05), name

    def test_of_a_category_is_half_of_its_rows_on_a_level_that_is_new(self):
        reference = prepare_reference(summarise_categories(["a"] * 600 + ["b"] * 400))

        expected = large_effects(reference, 100)

        half = compare(reference, summarise_categories(["a"] * 30 + ["b"] * 20 + ["new"] * 50))
        assert expected == pytest.approx({name: KERNELS[name].measure(half).value for name in expected})


class TestTheLimit:
    def test_of_days_that_each_have_another_level_is_not_informative(self):
        rng = np.random.default_rng(0)
        parts = [
            {"x": summarise_numbers(rng.normal(level, 0.05, 24), centre=0.0)}
            for level in rng.normal(0, 1, 30)
        ]
        reference = prepare_reference(merge_numbers([part["x"] for part in parts]))
        days = count_days({"x": reference}, [(date(2026, 1, 1 + i), part) for i, part in enumerate(parts)])[
            "x"
        ]

        limit = resample_null(reference, 24, rng=rng, days=days).threshold("psi")

        assert limit.value > 3
        assert not limit.is_informative
        assert "Not even a large effect would reach" in limit.reason

    @pytest.mark.parametrize("shape", FEW_VALUES)
    def test_of_a_column_of_few_values_is_informative(self, shape):
        values = FEW_VALUES[shape](np.random.default_rng(0), 5_000)
        reference = prepare_reference(summarise_numbers(values, centre=0.0))

        null = resample_null(reference, 500, rng=np.random.default_rng(1))

        assert [name for name in null.draws if not null.threshold(name).is_informative] == []

    def test_of_windows_of_many_rows_is_informative(self):
        rng = np.random.default_rng(0)
        reference = prepare_reference(summarise_numbers(rng.normal(0, 1, 5_000), centre=0.0))
        null = resample_null(reference, 100, rng=rng)

        assert all(null.threshold(name).is_informative for name in null.draws)
