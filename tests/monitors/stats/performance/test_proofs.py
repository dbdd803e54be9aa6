"""A value of few rows proves a breach so seldom by chance that a quiet model stays quiet."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import binom

from monitors.stats.mergeable.outcomes import summarise_binary_outcomes, summarise_regression_outcomes
from monitors.stats.performance.estimate import (
    MIN_PROVING_ROWS,
    Estimate,
    proves_beyond,
    share,
)
from monitors.stats.performance.metrics import measure_outcomes

pytestmark = pytest.mark.slow

BY_CHANCE = 0.01
WINDOWS = 2_000


def proves(estimate: Estimate, limit: float, *, is_below: bool) -> bool:
    assert estimate.value is not None
    return proves_beyond(estimate.value, estimate.n, estimate.lower, estimate.upper, limit, is_below=is_below)


@given(n=st.integers(MIN_PROVING_ROWS, 300), limit=st.floats(0.02, 0.98), is_below=st.booleans())
def test_a_share_at_its_limit_proves_nothing_in_99_windows_of_100(
    n: int, limit: float, is_below: bool
) -> None:
    right = np.array([proves(share(hits, n), limit, is_below=is_below) for hits in range(n + 1)])

    assert binom.pmf(np.arange(n + 1), n, limit)[right].sum() <= BY_CHANCE


@pytest.mark.parametrize("n", [20, 40])
@pytest.mark.parametrize("true_auc", [0.7, 0.9])
def test_a_ranking_at_its_limit_proves_nothing_in_99_windows_of_100(n: int, true_auc: float) -> None:
    rng = np.random.default_rng(n)
    proved = 0
    for _ in range(WINDOWS):
        truth = rng.random(n) < 0.3
        score = 1 / (1 + np.exp(-rng.normal(truth * ndtri(true_auc) * np.sqrt(2), 1)))
        estimate = measure_outcomes(summarise_binary_outcomes(truth, score >= 0.5, score))["roc_auc"]
        proved += estimate.value is not None and proves(estimate, true_auc, is_below=True)

    assert proved <= BY_CHANCE * WINDOWS


def test_errors_at_their_limit_prove_nothing_in_99_windows_of_100() -> None:
    rng = np.random.default_rng(0)
    errors = rng.exponential(1.0, (WINDOWS, 24))

    proved = sum(
        proves(measure_outcomes(summarise_regression_outcomes(np.zeros(24), row))["mae"], 1.0, is_below=False)
        for row in errors
    )

    assert proved <= BY_CHANCE * WINDOWS


def test_few_rows_are_enough_where_nearly_all_are_wrong() -> None:
    assert proves(share(4, 24), 0.8, is_below=True)
    assert not proves(share(17, 24), 0.8, is_below=True)


def test_fewer_than_twenty_rows_prove_nothing() -> None:
    assert not proves(share(0, MIN_PROVING_ROWS - 1), 0.8, is_below=True)
