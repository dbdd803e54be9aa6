"""Metrics of rankings against scikit-learn's, query by query, and by hand where that has none."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from monitors.stats.mergeable.outcomes import (
    RegressionOutcomeSummary,
    merge_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.mergeable.window_summary import WindowSummary
from monitors.stats.performance.blocks import measure_blocks
from monitors.stats.performance.metrics import measure_outcomes
from monitors.stats.performance.ranking_queries import measure_queries, summarise_queries

# A query's rows: a score of few levels, so that some are equal, and a relevance from 0 to 3.
QUERY = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 3)), min_size=2, max_size=25).filter(
    lambda rows: any(relevance for _, relevance in rows)
)


def summary_of(queries: list[list[tuple[float, float]]]):
    rows = [(number, *row) for number, query in enumerate(queries) for row in query]
    shuffled = [rows[place] for place in np.random.default_rng(0).permutation(len(rows))]
    numbers, scores, relevances = zip(*shuffled, strict=True)
    return summarise_queries(numbers, scores, relevances)


def ranked(places: list[int], n: int) -> list[tuple[float, float]]:
    """Give `n` rows by falling score, of which those at these places (from 1) are relevant."""
    return [(float(n - place), float(place + 1 in places)) for place in range(n)]


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(QUERY, min_size=1, max_size=4))
def test_ndcg_and_average_precision_are_those_of_scikit_learn(queries):
    measured = measure_queries(summary_of(queries))

    def mean(metric) -> float:
        arrays = [np.array(query, dtype=float).T for query in queries]
        return float(np.mean([metric(relevance, score) for score, relevance in arrays]))

    expected = {
        "ndcg": mean(lambda y, s: ndcg_score([y], [s])),
        "ndcg_at_10": mean(lambda y, s: ndcg_score([y], [s], k=10)),
        "mean_average_precision": mean(
            lambda y, s: label_ranking_average_precision_score([(y > 0).astype(int)], [s])
        ),
    }
    assert {name: measured[name].value for name in expected} == pytest.approx(expected)


def test_reciprocal_rank_and_hits_look_at_the_first_relevant_row():
    queries = [ranked([1, 5], 12), ranked([4], 12), ranked([11], 12)]

    measured = measure_queries(summary_of(queries))

    assert measured["mrr"].value == pytest.approx((1 + 1 / 4 + 1 / 11) / 3)
    assert measured["hit_rate_at_10"].value == pytest.approx(2 / 3)


def test_a_relevant_row_counts_as_the_last_of_those_with_its_score():
    measured = measure_queries(summary_of([[(1.0, 1.0)] + [(1.0, 0.0)] * 10]))

    assert measured["mrr"].value == pytest.approx(1 / 11)
    assert measured["hit_rate_at_10"].value == 0.0


@pytest.mark.parametrize(
    "query",
    [[(1.0, 1.0)], [(1.0, 0.0), (0.5, 0.0)], [(1.0, -1.0), (0.5, 1.0)], [(np.nan, 1.0), (1.0, 1.0)]],
    ids=["one row", "nothing relevant", "a negative relevance", "one row with a score"],
)
def test_a_query_of_which_nothing_can_be_told_is_left_out_and_counted(query):
    measured = measure_queries(summary_of([query, ranked([1], 3)]))

    assert {(found.value, found.n) for found in measured.values()} == {(1.0, 1)}
    assert measured["ndcg"].detail == {"queries_left_out": 1}


def test_rows_of_no_query_and_without_rows_there_is_no_value():
    unnamed = summarise_queries([-1, -1], [1.0, 2.0], [1.0, 0.0])

    assert {found.value for found in measure_queries(unnamed).values()} == {None}
    assert unnamed == summarise_queries([], [], [])


@settings(max_examples=20)
@given(st.lists(QUERY, min_size=2, max_size=4), st.integers(1, 3))
def test_queries_of_two_windows_add_up_to_those_of_both(queries, cut):
    whole, cut = measure_queries(summary_of(queries)), min(cut, len(queries) - 1)

    parts = summary_of(queries[:cut]).merge(summary_of(queries[cut:]))

    for name, estimate in measure_queries(parts).items():
        assert (estimate.value, estimate.n) == (pytest.approx(whole[name].value), whole[name].n)


def test_the_interval_covers_the_mean_of_all_queries():
    rng = np.random.default_rng(0)
    ranks = rng.integers(1, 9, 20_000)
    truth, covered = float(np.mean(1 / ranks)), 0

    for drawn in rng.choice(ranks, (200, 60)):
        found = measure_queries(summary_of([ranked([rank], 8) for rank in drawn]))["mrr"]
        covered += found.lower <= truth <= found.upper

    assert 0.9 <= covered / 200 <= 0.99


def outcome_of(hits: list[int]) -> RegressionOutcomeSummary:
    rows = [(number, *row) for number, rank in enumerate(hits) for row in ranked([rank], 4)]
    numbers, scores, relevances = map(np.array, zip(*rows, strict=True))
    return replace(
        summarise_regression_outcomes(relevances, scores),
        ranking=summarise_queries(numbers, scores, relevances),
    )


class TestInAnOutcome:
    def test_a_window_that_is_stored_keeps_it(self):
        stored = WindowSummary(rows=8, features={}, outcome=outcome_of([1, 2])).encode()

        outcome = WindowSummary.decode(stored).outcome

        assert isinstance(outcome, RegressionOutcomeSummary)
        assert outcome.ranking == outcome_of([1, 2]).ranking

    def test_a_window_from_before_rankings_were_kept_adds_no_query(self):
        before = summarise_regression_outcomes([1.0, 2.0], [1.0, 2.0])

        for parts in ([before, outcome_of([2, 2])], [outcome_of([2, 2]), before]):
            measured = measure_outcomes(merge_outcomes(parts))
            assert (measured["mrr"].value, measured["mrr"].n, measured["mae"].n) == (0.5, 2, 10)

    def test_hours_that_differ_widen_the_interval_of_their_day(self):
        hours = [outcome_of([1 + hour % 4] * 6) for hour in range(12)]

        whole = merge_outcomes(hours)

        by_rows, by_blocks = (
            found["mrr"] for found in (measure_outcomes(whole), measure_blocks(whole, hours))
        )
        assert by_blocks.method == "jackknife"
        assert by_blocks.upper - by_blocks.lower > 1.5 * (by_rows.upper - by_rows.lower)
        assert 0 <= by_blocks.lower < by_blocks.value < by_blocks.upper <= 1
