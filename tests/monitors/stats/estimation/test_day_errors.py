from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from monitors.stats.estimation.day_errors import DayErrors, allow_for_days, errors_by_day
from monitors.stats.estimation.error_profile import ErrorProfile, estimate_errors, profile_errors
from monitors.stats.mergeable.outcomes import summarise_regression_outcomes
from monitors.stats.performance.estimate import Estimate
from monitors.stats.performance.metrics import measure_outcomes

Day = tuple[np.ndarray, np.ndarray]


def days_of(rng: np.random.Generator, days: int, rows: int, *, alike: float) -> Iterator[Day]:
    """Labels and predictions; all errors of a day are larger or smaller together, by that much of their logarithm."""
    for _ in range(days):
        answer = rng.gamma(3.0, 1.0, rows)
        yield answer + rng.normal(size=rows) * 0.3 * answer * np.exp(rng.normal(scale=alike)), answer


def estimated(profile: ErrorProfile, day: Day) -> dict[str, Estimate]:
    return estimate_errors(profile, profile.count(day[1]))


def realised(day: Day) -> dict[str, Estimate]:
    return measure_outcomes(summarise_regression_outcomes(*day))


def learn(reference: list[Day]) -> tuple[ErrorProfile, Mapping[str, DayErrors]]:
    truth, answer = (np.concatenate(part) for part in zip(*reference, strict=True))
    profile = profile_errors(answer - truth, by=answer)
    assert profile is not None
    return profile, errors_by_day([(estimated(profile, day), realised(day)) for day in reference])


def is_held(estimate: Estimate, truth: Estimate) -> bool:
    return estimate.lower <= truth.value <= estimate.upper  # type: ignore[operator]


@pytest.mark.slow
def test_where_days_differ_their_own_intervals_hold_as_often_as_they_say():
    rng = np.random.default_rng(0)
    by_rows, by_days = [], []

    for _ in range(10):  # what a reference got wrong, it gets wrong in all its windows
        profile, errors = learn(list(days_of(rng, 30, 300, alike=0.3)))
        for day in days_of(rng, 20, 300, alike=0.3):
            estimate, truth = estimated(profile, day)["mae"], realised(day)["mae"]
            by_rows.append(is_held(estimate, truth))
            by_days.append(is_held(allow_for_days("mae", estimate, errors["mae"], length=1), truth))

    assert np.mean(by_rows) < 0.5
    assert 0.9 <= np.mean(by_days) <= 0.99


def test_where_rows_are_independent_an_interval_stays_about_as_it_was():
    rng = np.random.default_rng(0)
    profile, errors = learn(list(days_of(rng, 60, 300, alike=0.0)))
    [day] = days_of(rng, 1, 300, alike=0.0)
    before = estimated(profile, day)["rmse"]

    after = allow_for_days("rmse", before, errors["rmse"], length=1)

    assert after.value == before.value
    assert before.upper - before.lower <= after.upper - after.lower <= 1.3 * (before.upper - before.lower)


def errors_of(errors: np.ndarray) -> DayErrors:
    return DayErrors(errors, np.zeros(errors.size), np.full(errors.size, 100.0))


def test_days_of_a_week_that_err_apart_cancel_out_and_those_that_err_together_do_not():
    apart = np.random.default_rng(0).normal(size=700)
    together = np.repeat(apart[:100], 7)

    assert errors_of(apart).spread(7)[0] == pytest.approx(1 / np.sqrt(7), rel=0.1)
    assert errors_of(together).spread(7)[0] > 0.75


def test_a_run_longer_than_a_quarter_of_the_days_counts_as_one_of_a_quarter():
    few = errors_of(np.random.default_rng(0).normal(size=28))

    assert few.spread(30) == few.spread(7)
    assert few.spread(7)[1] == 4


def test_fewer_than_fourteen_days_tell_nothing():
    rng = np.random.default_rng(0)
    profile, errors = learn(list(days_of(rng, 13, 100, alike=0.5)))
    [day] = days_of(rng, 1, 100, alike=0.5)
    estimate = estimated(profile, day)["mae"]

    assert not errors
    assert allow_for_days("mae", estimate, errors.get("mae"), length=1) == estimate


def test_days_without_labels_of_both_kinds_are_left_out_and_bounds_stay_where_the_metric_ends():
    known = (
        {"accuracy": Estimate(0.9, 100, 0.85, 0.95)},
        {"accuracy": Estimate(0.7, 0)},  # a metric's own n may be 0, as that of an f1 without a positive
    )
    undefined = ({"accuracy": Estimate(None, 0)}, {"accuracy": Estimate(None, 0)})

    errors = errors_by_day([known] * 14 + [undefined])["accuracy"]
    widened = allow_for_days("accuracy", Estimate(0.9, 100, 0.85, 0.95), errors, length=1)

    assert errors.rows.sum() == 1_400
    assert (widened.upper, widened.method, widened.detail["days"]) == (1.0, "reference_days", 14)
    assert widened.lower < 0.5
