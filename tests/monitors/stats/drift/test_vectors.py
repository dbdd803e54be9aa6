"""The drift of vectors: how often it is noticed where nothing moved, and whether it is where something did."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from inference.vector_names import part_names
from inference.vectors import describe_vectors
from monitors.stats.drift.judged import FeatureDrift
from monitors.stats.drift.judging import judge_drift
from monitors.stats.drift.prepared import prepare_reference
from monitors.stats.drift.thresholds import NullDistributions, benjamini_hochberg, resample_null
from monitors.stats.drift.vectors import mean_shift, simes_p_value
from monitors.stats.mergeable.sketches import NumericSummary, merge_numbers, summarise_numbers

DIMENSION, ROWS = 96, 464  # a size of the grid
NAMES = part_names("photo", DIMENSION)

type Vectors = NDArray[np.float64]
type Draw = Callable[[np.random.Generator, int], Vectors]


def even(rng: np.random.Generator, rows: int) -> Vectors:
    """Draw vectors that spread alike in each direction."""
    return rng.normal(size=(rows, DIMENSION))


def narrow(rng: np.random.Generator, rows: int) -> Vectors:
    """Draw vectors as encoders make them: far from 0, with nearly all of their spread in a few directions."""
    spread = np.concatenate([[8.0, 4.0, 2.0], np.full(DIMENSION - 3, 0.05)])
    return 3.0 + rng.normal(size=(rows, DIMENSION)) * spread


def summarise(vectors: Vectors) -> dict[str, NumericSummary]:
    return {
        name: summarise_numbers(values, centre=0.0)
        for name, values in describe_vectors("photo", vectors).items()
    }


class World:
    """A reference of one way to draw vectors, and what chance does in windows of one size."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.summary = summarise(draw(np.random.default_rng(0), 6_000))
        self.references = {name: prepare_reference(column) for name, column in self.summary.items()}
        rng = np.random.default_rng(1)
        self.nulls: dict[str, NullDistributions] = {
            name: resample_null(reference, ROWS, rng=rng) for name, reference in self.references.items()
        }

    def judge(self, vectors: Vectors) -> FeatureDrift:
        judged = judge_drift(
            self.references,
            summarise(vectors),
            lambda name, _: self.nulls[name],
            vectors={"photo": NAMES},
        )
        assert set(judged) == {"photo"}
        return judged["photo"]


@pytest.fixture(scope="module", params=[even, narrow], ids=["even", "narrow"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


class TestJudgedVectors:
    @pytest.mark.slow
    def test_that_are_quiet_are_seldom_called_drifted(self, world: World) -> None:
        rng = np.random.default_rng(2)

        judged = [world.judge(world.draw(rng, ROWS)) for _ in range(300)]

        # The rate that is stated is 1%, and 5% of p-values lie below 0.05 at most; both with room for chance.
        assert sum(one.drifted for one in judged) <= stats.binom.ppf(0.999, 300, 0.01)
        assert sum(one.p_value <= 0.05 for one in judged) <= stats.binom.ppf(0.999, 300, 0.05)

    @pytest.mark.slow
    def test_that_shifted_by_half_of_their_spread_are_noticed(self, world: World) -> None:
        rng = np.random.default_rng(4)
        sample = world.draw(rng, 2_000)
        spread = np.sqrt(sample.var(axis=0).sum())
        away = rng.normal(size=DIMENSION)
        shift = 0.5 * spread * away / np.linalg.norm(away)

        judged = [world.judge(world.draw(rng, ROWS) + shift) for _ in range(20)]

        assert sum(one.drifted for one in judged) == 20
        assert {one.kind for one in judged} == {"vector"}

    def test_that_grew_are_noticed_by_their_length(self, world: World) -> None:
        judged = world.judge(1.6 * world.draw(np.random.default_rng(5), ROWS))

        assert judged.drifted
        assert judged.column in NAMES

    def test_show_the_number_that_stands_out_and_limits_of_all(self, world: World) -> None:
        judged = world.judge(world.draw(np.random.default_rng(6), ROWS))
        psi = judged.statistics["psi"]

        assert psi.threshold >= max(world.nulls[name].draws["psi"][-100] for name in NAMES)
        assert psi.reason.startswith("Of 17 numbers that are kept of a vector")


class TestSimes:
    def test_rejects_where_benjamini_hochberg_rejects_any(self) -> None:
        rng = np.random.default_rng(0)

        for _ in range(500):
            p_values = rng.uniform(size=8) ** 3
            rate = float(rng.uniform(0.001, 0.2))
            assert (simes_p_value(p_values) <= rate) == any(benjamini_hochberg(p_values, rate))

    def test_equals_the_smallest_adjusted_p_value_of_scipy(self) -> None:
        p_values = np.random.default_rng(1).uniform(size=17)

        assert simes_p_value(p_values) == pytest.approx(stats.false_discovery_control(p_values).min())


class TestMeanShift:
    @pytest.mark.slow
    def test_estimates_the_distance_of_the_means_in_units_of_the_spread(self) -> None:
        """16 directions tell it to about a fifth: the mean over many shifts is right."""
        rng = np.random.default_rng(7)
        usual = even(rng, 20_000)
        ratios = []
        for _ in range(40):
            away = rng.normal(size=DIMENSION)
            window = even(rng, 4_000) + 0.8 * np.sqrt(DIMENSION) * away / np.linalg.norm(away)
            found, _ = mean_shift(*(_directions(vectors) for vectors in (usual, window)))
            exact = np.linalg.norm(usual.mean(axis=0) - window.mean(axis=0)) / np.sqrt(
                usual.var(axis=0).sum()
            )
            ratios.append((found.value / exact) ** 2)

        assert np.mean(ratios) == pytest.approx(1.0, abs=0.15)

    @pytest.mark.slow
    @pytest.mark.parametrize("draw", [even, narrow])
    def test_has_a_p_value_that_holds_for_any_covariance(self, draw: Draw) -> None:
        rng = np.random.default_rng(8)
        usual = _directions(draw(rng, 5_000))

        p_values = [mean_shift(usual, _directions(draw(rng, 300)))[0].p_value for _ in range(300)]

        assert sum(p is not None and p <= 0.05 for p in p_values) <= stats.binom.ppf(0.999, 300, 0.05)

    def test_is_nothing_where_no_vector_is_there_or_none_varies(self) -> None:
        same = _directions(np.ones((50, DIMENSION)))

        assert mean_shift(same, same)[0].value == 0.0
        assert mean_shift([], [])[0].value == 0.0


class TestMergedVectors:
    def test_judge_alike_in_any_order_and_grouping(self, world: World) -> None:
        window = world.draw(np.random.default_rng(9), ROWS)
        parts = [summarise(window[rows]) for rows in (slice(0, 100), slice(100, 150), slice(150, ROWS))]
        orders = ([0, 1, 2], [2, 0, 1])

        merged = [
            {name: merge_numbers([parts[place][name] for place in order]) for name in NAMES}
            for order in orders
        ]
        grouped = {
            name: merge_numbers([merge_numbers([parts[0][name], parts[1][name]]), parts[2][name]])
            for name in NAMES
        }

        whole = summarise(window)
        for one in (*merged, grouped):
            for name in NAMES:
                np.testing.assert_array_equal(one[name].counts, whole[name].counts)
                assert one[name].mean == pytest.approx(whole[name].mean)


def _directions(vectors: Vectors) -> list[NumericSummary]:
    return [summarise(vectors)[name] for name in NAMES[:-1]]
