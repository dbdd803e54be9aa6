"""Guards see harm soon and stop what does none seldom, however often they look."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.stats.promotion.guards import (
    Events,
    chance_at_look,
    distance_of_scores,
    distance_of_shares,
    log_evidence_of_mismatch,
    log_evidence_of_more,
)

pytestmark = pytest.mark.slow

CHANCE = 0.02


def is_stopped(seed: int, *, share: float, champion: float, challenger: float, looks: int = 200) -> bool:
    """Look after every 100 requests whether the evidence passes the limit of a guard with this chance of error."""
    rng, champion_side, challenger_side = np.random.default_rng(seed), [0, 0], [0, 0]
    for _ in range(looks):
        answered = rng.binomial(100, share)
        challenger_side[0] += answered
        challenger_side[1] += rng.binomial(answered, challenger)
        champion_side[0] += 100 - answered
        champion_side[1] += rng.binomial(100 - answered, champion)
        if log_evidence_of_more([Events(*champion_side, *challenger_side)]) >= -log(CHANCE):
            return True
    return False


class TestMoreEvents:
    @pytest.mark.parametrize("share", [0.05, 0.5])
    @pytest.mark.parametrize("rate", [0.001, 0.02, 0.3])
    def test_equal_rates_pass_the_limit_seldom_at_any_look(self, share: float, rate: float) -> None:
        stopped = sum(is_stopped(seed, share=share, champion=rate, challenger=rate) for seed in range(300))

        assert stopped <= 12  # 6 are meant, and 12 come in one of a hundred draws

    def test_one_percent_more_failures_are_seen_before_2_000_requests_of_the_challenger(self) -> None:
        seen = sum(
            is_stopped(seed, share=0.05, champion=0.001, challenger=0.011, looks=400) for seed in range(100)
        )

        assert seen >= 95

    @given(st.integers(1, 10_000), st.integers(1, 10_000))
    def test_nothing_happens_where_nothing_failed(self, champion: int, challenger: int) -> None:
        assert log_evidence_of_more([Events(champion, 0, challenger, 0)]) == pytest.approx(0.0)

    def test_an_outage_of_both_is_no_evidence(self) -> None:
        assert log_evidence_of_more([Events(9_500, 4_750, 500, 250)]) < 0

    def test_a_side_without_requests_says_nothing(self) -> None:
        assert log_evidence_of_more([Events(0, 0, 10, 10), Events(10, 10, 0, 0)]) == 0.0

    def test_steps_add_up(self) -> None:
        step = Events(950, 1, 50, 1)

        assert log_evidence_of_more([step, step]) > log_evidence_of_more([step])


class TestMismatch:
    def test_a_split_that_fits_passes_the_limit_seldom_at_any_look(self) -> None:
        stopped = 0
        for seed in range(300):
            drawn = np.random.default_rng(seed).binomial(50, 0.05, size=200).cumsum()
            stopped += any(
                log_evidence_of_mismatch(50 * (look + 1) - int(keys), int(keys), 0.05) >= -log(CHANCE)
                for look, keys in enumerate(drawn)
            )

        assert stopped <= 12

    def test_a_fifth_of_the_keys_lost_is_seen(self) -> None:
        assert log_evidence_of_mismatch(5_000, 4_000, 0.5) > log(1_000)


class TestDistances:
    def test_are_those_of_scipy(self) -> None:
        from scipy.stats import ks_2samp

        rng = np.random.default_rng(5)
        first, second = rng.normal(size=300), rng.normal(0.3, 1, size=500).round(1)

        found = distance_of_scores(first, second, 0.05)

        assert found.value == pytest.approx(ks_2samp(first, second).statistic)
        assert 0 <= found.at_least < found.value

    def test_lie_above_their_bound_for_sure_where_both_sides_are_large(self) -> None:
        found = distance_of_scores(np.linspace(0, 1, 20_000), np.linspace(0.5, 1.5, 20_000), 1e-6)

        assert 0.45 < found.at_least < found.value == pytest.approx(0.5, abs=1e-3)

    def test_name_the_class_that_moved_furthest(self) -> None:
        name, found = distance_of_shares({"a": 900, "b": 100}, {"a": 500, "b": 400, "c": 100}, 0.01)

        assert (name, found.value) == ("a", pytest.approx(0.4))

    def test_leave_out_what_is_usual(self) -> None:
        usual = {"a": -0.4, "b": 0.4}

        _, found = distance_of_shares({"a": 900, "b": 100}, {"a": 500, "b": 500}, 0.01, usual)

        assert found.value == pytest.approx(0.0)

    def test_of_nothing_are_nothing(self) -> None:
        assert distance_of_shares({}, {"a": 1}, 0.01)[1].value == 0.0
        assert distance_of_scores(np.array([]), np.array([1.0]), 0.01).value == 0.0


def test_all_looks_together_spend_the_chance() -> None:
    assert sum(chance_at_look(0.05, look) for look in range(1, 10_000)) == pytest.approx(0.05, rel=1e-3)
