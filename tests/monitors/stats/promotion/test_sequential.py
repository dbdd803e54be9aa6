"""Looking often costs nothing: chance passes the bounds at any of a hundred looks no more often than they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from monitors.stats.promotion.differences import METRICS, blocks_of, metric_by_blocks
from monitors.stats.promotion.gate import GatePolicy, judge
from monitors.stats.promotion.sequential import Looks, tail_at
from tests.monitors.stats.promotion.traffic import compared, traffic

STREAMS, LOOKS = 4_000, 100


def share_that_passes(looks: Looks, tails: list[float], at: np.ndarray) -> float:
    """Draw sums of pairs without a difference, and tell how many pass the upper bound at any look."""
    rng = np.random.default_rng(11)
    steps = np.sqrt(np.diff(at, prepend=0.0))
    sums = np.cumsum(steps * rng.normal(size=(STREAMS, at.size)), axis=1)
    return float((sums / np.sqrt(at) > norm.isf(tails)).any(axis=1).mean())


@pytest.mark.parametrize("looks", [Looks(500, 5_000), Looks(2_000, 6_000), Looks(4_999, 5_000)])
def test_chance_passes_at_any_look_no_more_often_than_at_one(looks: Looks) -> None:
    at = np.linspace(looks.first, looks.last, LOOKS)

    together = share_that_passes(looks, [tail_at(int(pairs), 0.9, looks) for pairs in at], at)

    assert 0.01 < together < 0.055
    if looks.last > 2 * looks.first:
        assert share_that_passes(looks, [0.05] * LOOKS, at) > 0.1  # what fixed bounds would let pass


@given(st.integers(1, 6_000), st.integers(1, 6_000), st.sampled_from([0.8, 0.9, 0.99]))
def test_bounds_at_all_looks_are_never_closer_than_at_one(pairs: int, first: int, confidence: float) -> None:
    at_this_look = tail_at(pairs, confidence, Looks(first, 6_000))

    assert 0 <= at_this_look < tail_at(pairs, confidence, None) == pytest.approx((1 - confidence) / 2)
    assert tail_at(pairs, confidence, Looks(first, 6_000)) <= tail_at(6_000, confidence, Looks(first, 6_000))


def test_a_clear_difference_ends_at_the_first_look_and_a_small_one_at_the_last() -> None:
    policy, looks = GatePolicy("roc_auc"), Looks(500, 5_000)

    clear = compared(**traffic(n=500, challenger_noise=0.1, champion_noise=3.0), confidence=0.9, looks=looks)
    small = traffic(n=5_000, challenger_noise=0.7)
    early = {name: values[:600] if name != "task" else values for name, values in small.items()}

    assert judge(clear, policy).decision == "promote"
    assert judge(compared(**early, confidence=0.9, looks=looks), policy).decision == "inconclusive"
    assert judge(compared(**small, confidence=0.9, looks=looks), policy).decision == "promote"


@pytest.mark.parametrize("metric", METRICS["binary"])
def test_the_influence_of_a_day_is_the_change_without_it(metric: str) -> None:
    pairs = traffic(n=3_000)
    blocks, count = blocks_of(pairs["block"])
    score, answer = pairs["champion"], (pairs["champion"] >= 0.5).astype(float)

    whole = metric_by_blocks(metric, pairs["y"], score, answer, blocks, count)
    without = []
    for block in range(count):
        kept = blocks != block
        left = metric_by_blocks(metric, pairs["y"][kept], score[kept], answer[kept], blocks[kept], count)
        without.append(left.value)

    changes = (whole.value - np.array(without)) * (count - 1) / count
    assert changes == pytest.approx(whole.influences, abs=0.06 * np.abs(whole.influences).max())
