"""The p99 of a version's latencies, and what it is at least."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from monitors.stats.promotion.latency import SlowestAnswers, slowest_answers

LATENCIES = st.lists(st.floats(0.01, 1e5), min_size=1, max_size=300, unique=True)


def at_least(latency: np.ndarray, requests: np.ndarray | None = None) -> float:
    found = slowest_answers(latency, requests).at_least_ms
    assert found is not None
    return found


@pytest.mark.parametrize("latency", [None, [], [np.nan, np.nan]])
def test_of_no_known_latency_there_is_none(latency: list[float] | None) -> None:
    assert slowest_answers(latency) == SlowestAnswers(None, None)


def test_that_are_unknown_do_not_count() -> None:
    assert slowest_answers([np.nan, 3.0, np.nan]) == slowest_answers([3.0])


@given(LATENCIES)
def test_are_those_of_numpy_and_the_bound_is_one_that_a_test_of_the_count_does_not_refute(
    latency: list[float],
) -> None:
    found = slowest_answers(latency)

    assert found.p99_ms == np.quantile(latency, 0.99)
    assert at_least(np.array(latency)) <= found.p99_ms
    above = int((np.array(latency) > at_least(np.array(latency))).sum())
    assert binomtest(above, len(latency), 0.01, alternative="greater").pvalue > 0.01


@given(LATENCIES, st.integers(2, 50))
def test_of_a_request_count_once_however_many_rows_it_has(latency: list[float], rows: int) -> None:
    spread, requests = np.repeat(latency, rows), np.repeat(np.arange(len(latency)), rows)

    assert at_least(spread, requests) == min(at_least(np.array(latency)), np.quantile(spread, 0.99))


@pytest.mark.parametrize("batches", [6, 10, 20])
def test_of_large_requests_that_are_all_slow_are_slow_for_certain(batches: int) -> None:
    random = np.random.default_rng(2)
    rows = random.permutation(np.repeat([1, 1_000], [2_000, batches]))
    latency = np.where(rows == 1, random.uniform(1, 2, rows.size), random.uniform(80, 90, rows.size))

    assert at_least(latency.repeat(rows), np.arange(rows.size).repeat(rows)) > 80


def test_in_whole_milliseconds_are_as_certain_as_finer_ones() -> None:
    random = np.random.default_rng(5)
    samples = [np.where(random.random(2_000) < 0.01, random.integers(40, 90, 2_000), 1.0) for _ in range(300)]

    assert np.mean([at_least(latency) > 1.0 for latency in samples]) < 0.03


@pytest.mark.slow
def test_are_longer_than_the_bound_says_in_less_than_one_of_a_hundred_samples() -> None:
    random = np.random.default_rng(9)
    true_p99 = -np.log(0.01)
    bounds = [at_least(random.exponential(size=400)) for _ in range(2_000)]

    assert np.mean(np.array(bounds) > true_p99) < 0.015
    assert np.median(bounds) > -np.log(0.03), "the bound is no further down than the p97"
