"""While a column has at most `MAX_DISTINCT` values nothing is lost: statistics are those of the rows."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from monitors.stats.drift.distances import measure_drift
from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.mergeable.outcomes import (
    PROBABILITY_EPS,
    BinaryOutcomeSummary,
    summarise_binary_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.mergeable.sketches import (
    MAX_DISTINCT,
    NumericSummary,
    choose_centre,
    merge_numbers,
    summarise_numbers,
)
from monitors.stats.mergeable.subtraction import subtract
from monitors.stats.mergeable.window_summary import WindowSummary, summarise_window
from monitors.stats.performance.metrics import measure_outcomes
from tests.monitors.stats.columns import same_numbers

pytestmark = pytest.mark.slow

few_values = st.lists(
    st.one_of(
        st.floats(-1e7, 1e7),
        st.integers(300, 400).map(float),  # several share a cell of the grid around 0
        st.integers(0, 30).map(lambda tenth: tenth / 10),
        st.sampled_from([0.0, 1.0, 1e-12]),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda value: float(np.float32(value)),
)
probabilities = st.floats(2 * PROBABILITY_EPS, 1 - 2 * PROBABILITY_EPS, width=32)
labelled = st.lists(st.tuples(probabilities, st.booleans()), min_size=2, max_size=MAX_DISTINCT)


def stored(column: NumericSummary) -> NumericSummary:
    """The column as it comes back from the database."""
    window = WindowSummary(rows=column.rows, features={"x": column})
    restored = WindowSummary.decode(window.encode()).features["x"]
    assert isinstance(restored, NumericSummary)
    return restored


def restored_outcome(rows: list[tuple[float, bool]]) -> BinaryOutcomeSummary:
    score, truth = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    window = WindowSummary(
        rows=len(rows), features={}, outcome=summarise_binary_outcomes(truth, score > 0.5, score)
    )
    outcome = WindowSummary.decode(window.encode()).outcome
    assert isinstance(outcome, BinaryOutcomeSummary)
    return outcome


class TestDriftOfFewDistinctValues:
    @given(values=few_values, seed=st.integers(0, 1_000), own_centre=st.booleans())
    def test_equals_scipys_on_the_rows(self, values, seed, own_centre):
        rng = np.random.default_rng(seed)
        usual, seen = (rng.choice(values, size, p=rng.dirichlet(np.ones(len(values)))) for size in (400, 150))
        centre = choose_centre(usual)
        reference = prepare_reference(stored(summarise_numbers(usual, centre=centre)))
        window = stored(summarise_numbers(seen, centre=choose_centre(seen) if own_centre else centre))

        measured = measure_drift(reference, window)

        assert measured["ks"].value == pytest.approx(stats.ks_2samp(usual, seen).statistic, abs=1e-12)
        area = stats.wasserstein_distance(usual, seen)
        assert measured["wasserstein"].value * reference.scale == pytest.approx(area, rel=1e-9, abs=1e-9)

    @given(values=st.lists(st.floats(-1e7, 1e7), min_size=1, max_size=12))
    def test_is_none_between_a_file_and_the_float32_that_was_logged_of_it(self, values):
        in_file, logged = (
            stored(summarise_numbers(np.array(values * 3).astype(kind), centre=0.5))
            for kind in (np.float64, np.float32)
        )

        measured = measure_drift(prepare_reference(in_file), logged)

        assert measured["ks"].value == pytest.approx(0, abs=1e-12)
        assert measured["anderson_darling"].value == pytest.approx(0, abs=1e-12)

    def test_of_large_whole_numbers_is_known_by_cells(self):
        """A float32 has not each of them, so that the log may have others than the file."""
        seconds = 1.7e9 + 60.0 * np.arange(5)
        in_file, logged = (
            summarise_numbers(np.repeat(seconds.astype(kind), 40), centre=0.0)
            for kind in (np.float64, np.float32)
        )

        assert measure_drift(prepare_reference(in_file), logged)["ks"].value == 0.0

    @given(values=few_values, hours=st.integers(1, 6), seed=st.integers(0, 1_000))
    def test_does_not_depend_on_how_the_rows_came_together(self, values, hours, seed):
        rows = np.random.default_rng(seed).choice(values, 60)
        whole = summarise_numbers(rows, centre=5.0)

        fresh = merge_numbers([summarise_numbers(part, centre=5.0) for part in np.array_split(rows, hours)])
        by_storage = merge_numbers(
            [stored(summarise_numbers(part, centre=5.0)) for part in np.array_split(rows, hours)]
        )

        assert same_numbers(fresh, whole)
        assert np.array_equal(by_storage.distinct.values, whole.distinct.values)
        assert np.array_equal(by_storage.distinct.counts, whole.distinct.counts)


class TestManyDistinctValues:
    @given(
        sizes=st.lists(st.integers(0, 300), min_size=2, max_size=5),
        digits=st.integers(1, 4),
        random=st.randoms(use_true_random=False),
    )
    def test_are_counted_by_cells_whatever_the_order_of_merging(self, sizes, digits, random):
        rng = np.random.default_rng(sum(sizes))
        rows = [np.round(rng.normal(size=size), digits) for size in sizes]
        parts = [summarise_numbers(part, centre=0.0) for part in rows]

        one_by_one = parts[0]
        for part in random.sample(parts[1:], len(parts) - 1):
            one_by_one = part.merge(one_by_one)

        whole = summarise_numbers(np.concatenate(rows), centre=0.0)
        assert same_numbers(one_by_one, whole)
        assert same_numbers(merge_numbers(parts), whole)
        assert (whole.distinct is None) == (np.unique(np.concatenate(rows)).size > MAX_DISTINCT)

    @given(
        seed=st.integers(0, 10_000),
        spread=st.floats(1e-3, 100),
        shift=st.floats(-1, 1),
        n=st.integers(300, 2_000),
    )
    def test_move_a_distribution_function_by_less_than_a_cell_holds(self, seed, spread, shift, n):
        rng = np.random.default_rng(seed)
        usual, seen = 10 + spread * rng.normal(size=2_000), 10 + spread * (shift + rng.normal(size=n))
        sides = [summarise_numbers(side, centre=10.0) for side in (usual, seen)]

        measured = measure_drift(prepare_reference(sides[0]), sides[1])

        fullest = max(float(side.counts.max()) / side.n for side in sides)
        assert abs(measured["ks"].value - stats.ks_2samp(usual, seen).statistic) <= fullest + 1e-12

    def test_of_a_large_column_are_noticed_after_its_first_rows(self):
        whole = np.concatenate([np.full(100_000, 3.0), 3.0 + np.arange(300) / 1e5])

        assert summarise_numbers(whole, centre=0.0).distinct is None
        assert summarise_numbers(whole[:100_200], centre=0.0).distinct.counts[0] == 100_001


class TestScoresOfFewRows:
    @given(labelled)
    def test_rank_exactly(self, rows):
        truth, score = np.array([row[1] for row in rows]), np.array([row[0] for row in rows])

        measured = measure_outcomes(restored_outcome(rows))

        assert measured["log_loss"].value == pytest.approx(
            metrics.log_loss(truth, score, labels=[False, True])
        )
        if 0 < truth.sum() < truth.size:
            assert measured["roc_auc"].value == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-12)
            assert measured["average_precision"].value == pytest.approx(
                metrics.average_precision_score(truth, score), abs=1e-12
            )

    @given(
        seed=st.integers(0, 10_000),
        n=st.integers(600, 3_000),
        spread=st.sampled_from([0.001, 0.1, 1.0, 3.0]),
    )
    def test_of_many_rows_are_off_by_no_more_than_the_pairs_that_share_a_cell(self, seed, n, spread):
        rng = np.random.default_rng(seed)
        score = (1 / (1 + np.exp(-spread * rng.normal(1, 1, size=n)))).astype(np.float32).astype(np.float64)
        truth = rng.random(n) < score
        outcome = restored_outcome(list(zip(score, truth, strict=True)))

        measured = measure_outcomes(outcome)["roc_auc"].value

        _, hits, misses = np.intersect1d(outcome.positives.keys, outcome.negatives.keys, return_indices=True)
        tied = float(outcome.positives.counts[hits] @ outcome.negatives.counts[misses])
        bound = tied / (2 * outcome.positives.n * outcome.negatives.n)
        assert abs(measured - metrics.roc_auc_score(truth, score)) <= bound + 1e-12

    @pytest.mark.parametrize("seed", range(5))
    def test_of_many_well_spread_rows_are_off_by_little(self, seed):
        rng = np.random.default_rng(seed)
        score = 1 / (1 + np.exp(2 - rng.normal(size=5_000)))
        truth = rng.random(5_000) < score

        measured = measure_outcomes(restored_outcome(list(zip(score, truth, strict=True))))

        assert measured["roc_auc"].value == pytest.approx(metrics.roc_auc_score(truth, score), abs=3e-4)
        assert measured["average_precision"].value == pytest.approx(
            metrics.average_precision_score(truth, score), abs=1e-3
        )

    def test_give_the_median_error_exactly(self):
        truth = np.arange(101.0)
        answer = truth + np.linspace(100, 100.5, 101)
        outcome = summarise_regression_outcomes(truth, answer)

        restored = WindowSummary.decode(
            WindowSummary(rows=101, features={}, outcome=outcome).encode()
        ).outcome

        assert measure_outcomes(restored)["median_absolute_error"].value == pytest.approx(100.25, abs=1e-12)


class TestSubtraction:
    @given(values=few_values, kept=st.integers(1, 200), lost=st.integers(0, 50), seed=st.integers(0, 100))
    def test_gives_back_the_other_rows_exactly(self, values, kept, lost, seed):
        rng = np.random.default_rng(seed)
        rest, part = rng.choice(values, kept), rng.choice(values, lost)
        rest_of, part_of, whole_of = (
            summarise_window(rows=rows.size, features={"x": rows}, centres={"x": 1.0})
            for rows in (rest, part, np.concatenate([rest, part]))
        )

        difference = subtract(whole_of, part_of)

        assert difference.is_exact
        assert same_numbers(difference.rest.features["x"], rest_of.features["x"])

    def test_says_so_when_few_rows_are_left_of_many(self):
        rows = np.random.default_rng(0).normal(size=600)
        rest, part, whole = (
            summarise_window(rows=some.size, features={"x": some}, centres={"x": 0.0})
            for some in (rows[:100], rows[100:], rows)
        )

        assert subtract(whole, part).rest.features["x"].n == rest.features["x"].n
        assert not subtract(whole, part).is_exact


class TestStorage:
    def test_the_bytes_of_what_cells_give_back_are_as_they_were(self):
        """The draws of a reference begin with its bytes."""
        rng = np.random.default_rng(0)
        window = summarise_window(
            rows=5_000,
            features={
                "count": rng.poisson(3, 5_000).astype(float),
                "size": rng.integers(-10_000, 10_000, 5_000) / 64,
                "region": rng.choice(np.array(["north", "south"], object), 5_000),
            },
            centres={"count": 3.0, "size": 0.5},
        )

        assert hashlib.sha256(window.encode()).hexdigest()[:16] == "6694bb82e9079642"

    def test_few_rows_take_hardly_more_than_their_cells_did(self):
        rows = np.random.default_rng(0).normal(size=24).astype(np.float32)
        column = summarise_numbers(rows, centre=0.0)

        few = len(WindowSummary(rows=24, features={"x": column}).encode())

        assert few <= 24 * 8 + 60
