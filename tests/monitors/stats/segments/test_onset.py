"""The day from which rows are others, so that a range that holds it does not hide what changed."""

import numpy as np
import pytest
from scipy import stats

from monitors.stats.segments.growth import MIN_ROWS, TimedRows, search_growth
from monitors.stats.segments.onset import RATE, find_onset

A_DAY = 300


def loans(rng: np.random.Generator, days: int, *, crypto_from: int | None = None) -> TimedRows:
    """Draw days of loans, of which an eighth more or less are for a car each day; some are for crypto from a day on."""
    block = np.repeat(np.arange(days) + 100, A_DAY)
    n = block.size
    car = np.repeat(rng.normal(0.5, 0.06, days), A_DAY)
    purpose = np.where(rng.random(n) < car, "car", "house").astype(object)
    if crypto_from is not None:
        purpose[(block >= 100 + crypto_from) & (rng.random(n) < 0.1)] = "crypto"
    return TimedRows({"purpose": purpose, "income": rng.normal(0, 1, n)}, block)


def test_is_found_where_a_category_comes_up() -> None:
    assert find_onset(loans(np.random.default_rng(0), 13, crypto_from=7), least=MIN_ROWS) == 107


def test_is_found_where_values_begin_to_be_missing() -> None:
    rng = np.random.default_rng(1)
    rows = loans(rng, 13)
    late = rows.block >= 108
    income = np.where(late & (rng.random(len(rows)) < 0.2), np.nan, rows.columns["income"])

    assert find_onset(TimedRows({"income": income}, rows.block), least=MIN_ROWS) == 108


def test_leads_the_search_to_the_segment_that_the_whole_range_hides() -> None:
    rng = np.random.default_rng(2)
    usual, window = loans(rng, 28), loans(rng, 13, crypto_from=7)
    late = window.block >= (find_onset(window, least=MIN_ROWS) or 0)
    since = TimedRows({name: values[late] for name, values in window.columns.items()}, window.block[late])

    whole, later = search_growth(window, usual, days=13).found, search_growth(since, usual, days=6).found

    assert later[0].name == "purpose = crypto"
    assert later[0].lower > max([one.lower for one in whole], default=0.0)


@pytest.mark.slow
def test_is_seldom_found_where_days_only_differ() -> None:
    searches = 100

    false = sum(
        find_onset(loans(np.random.default_rng(seed), 13), least=MIN_ROWS) is not None
        for seed in range(searches)
    )

    assert stats.binomtest(false, searches, RATE, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("days", [0, 1, 4])
def test_is_not_looked_for_in_a_few_days(days: int) -> None:
    assert find_onset(loans(np.random.default_rng(3), days, crypto_from=2), least=MIN_ROWS) is None


def test_needs_columns() -> None:
    assert find_onset(TimedRows({}, np.repeat(np.arange(9), 9)), least=MIN_ROWS) is None
