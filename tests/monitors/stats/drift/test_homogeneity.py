"""When days count as alike: only where a difference that matters would have been found."""

import numpy as np
import pytest

from monitors.stats.drift.homogeneity import judge_homogeneity


def days_of(rng: np.random.Generator, *, days: int, rows: int, spread: float, bins: int = 10) -> np.ndarray:
    """Count rows around a level of their day in bins of equal size, then none that are missing."""
    edges = np.quantile(rng.normal(0, np.hypot(1, spread), 10_000), np.arange(1, bins) / bins)
    counts = [
        np.bincount(np.searchsorted(edges, rng.normal(level, 1, rows)), minlength=bins)
        for level in rng.normal(0, spread, days)
    ]
    return np.column_stack([np.array(counts, dtype=float), np.zeros(days)])


@pytest.mark.parametrize("short", [1, 3])
def test_days_of_24_rows_with_weather_differ_though_one_of_them_is_cut_short(short):
    bins = days_of(np.random.default_rng(0), days=60, rows=24, spread=1.0)
    cut = np.concatenate([np.eye(11)[[4]] * short, bins])

    whole, with_short = (judge_homogeneity(table, ordered=True) for table in (bins, cut))

    assert whole.differ
    assert with_short.differ
    assert with_short.design_effect == pytest.approx(whole.design_effect, rel=0.1)


def test_a_level_that_moves_by_a_third_is_found_at_24_rows_a_day_where_no_single_bin_shows_it():
    tables = [days_of(np.random.default_rng(seed), days=60, rows=24, spread=0.33) for seed in range(20)]

    found = [judge_homogeneity(table, ordered=True).differ for table in tables]
    unordered = [judge_homogeneity(table, ordered=False).differ for table in tables]

    assert sum(found) >= 18
    assert sum(unordered) < sum(found)


def test_independent_rows_are_alike_nine_times_in_ten():
    tables = [days_of(np.random.default_rng(seed), days=60, rows=24, spread=0.0) for seed in range(50)]

    assert sum(judge_homogeneity(table, ordered=True).alike for table in tables) >= 45


def test_days_of_which_too_little_is_known_are_neither_alike_nor_different():
    shares = np.random.default_rng(1).binomial(24, 0.5, 14).astype(float)

    said = judge_homogeneity(np.column_stack([shares, 24 - shares]), ordered=False)

    assert not said.differ
    assert not said.alike


def test_a_column_of_one_value_is_alike_on_all_days():
    assert judge_homogeneity(np.array([[24.0, 0.0]] * 20), ordered=False).alike
