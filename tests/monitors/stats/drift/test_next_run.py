"""What few runs of days say of the next: levels of days are normal, and a statistic squares how far they lie."""

import numpy as np
import pytest

from monitors.stats.drift.next_run import predict_next_run

pytestmark = pytest.mark.slow

COLUMNS = 3
REFERENCES = 3_000


def chance_below(p: float, *, days: int, length: int, rng: np.random.Generator) -> float:
    """Give how often a window of `length` quiet days gets a p-value below `p`, from new references of `days`."""
    below = 0
    for _ in range(REFERENCES):
        levels = rng.normal(size=(days, COLUMNS))
        up_to = np.concatenate([np.zeros((1, COLUMNS)), np.cumsum(levels, axis=0)])
        runs = up_to[length:] - up_to[:-length]
        rest = (up_to[-1] - runs) / (days - length)
        next_run = predict_next_run({"psi": ((runs / length - rest) ** 2).sum(axis=1)}, len(runs), length)
        window = rng.normal(size=(length, COLUMNS)).mean(axis=0)
        distance = ((window - levels.mean(axis=0)) ** 2).sum()
        below += next_run["psi"].p_values(np.array([distance]))[0] < p
    return below / REFERENCES


@pytest.mark.parametrize("days", [14, 20, 60])
def test_one_quiet_day_in_a_hundred_gets_a_p_value_of_one_percent_however_few_days_are_known(days):
    assert 0.003 < chance_below(0.01, days=days, length=1, rng=np.random.default_rng(0)) < 0.02


@pytest.mark.parametrize("days", [28, 60])
def test_weeks_that_share_days_are_not_taken_for_so_many_weeks(days):
    assert chance_below(0.01, days=days, length=7, rng=np.random.default_rng(0)) < 0.015


def test_the_value_that_one_in_a_hundred_exceeds_has_a_p_value_of_one_percent():
    draws = np.random.default_rng(0).chisquare(3, size=30)
    next_run = predict_next_run({"psi": draws}, 30, 1)["psi"]

    assert next_run.p_values(np.array([next_run.quantile(0.99)])) == pytest.approx([0.01])


def test_a_value_beyond_all_measure_has_a_p_value_that_is_not_nought():
    draws = np.random.default_rng(0).chisquare(3, size=200)

    assert 0 < predict_next_run({"psi": draws}, 200, 1)["psi"].p_values(np.array([1e300]))[0] < 1e-100


def test_a_statistic_that_never_moved_predicts_nothing():
    assert predict_next_run({"psi": np.zeros(100), "ks": np.arange(100.0)}, 20, 1).keys() == {"ks"}
