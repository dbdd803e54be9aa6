import msgspec
import numpy as np
import pytest

from monitors.stats.estimation.error_profile import ErrorProfile, estimate_errors, profile_errors
from monitors.stats.mergeable.sketches import summarise_numbers
from monitors.stats.performance.estimate import Estimate


def houses(rng: np.random.Generator, n: int, *, dearer: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Prices and predictions; the dearer a house, the larger the error."""
    answer = rng.gamma(3.0, 1.0, n) + dearer * rng.random(n)
    return answer + rng.normal(size=n) * (0.1 + 0.3 * answer), answer


def learn(rng: np.random.Generator, n: int) -> ErrorProfile:
    truth, answer = houses(rng, n)
    profile = profile_errors(answer - truth, by=answer)
    assert profile is not None
    return profile


def estimate(profile: ErrorProfile, answer: np.ndarray) -> dict[str, Estimate]:
    """Estimate from the float grid, as a window's summary has it."""
    summary = summarise_numbers(answer, centre=0.0)
    return estimate_errors(profile, profile.count(summary.positions, summary.counts))


def test_a_window_like_the_reference_is_estimated_as_the_reference_was():
    truth, answer = houses(np.random.default_rng(0), 5_000)

    estimated = estimate(learn(np.random.default_rng(0), 5_000), answer)

    assert estimated["mae"].value == pytest.approx(np.abs(truth - answer).mean(), rel=5e-3)
    assert estimated["rmse"].value == pytest.approx(np.sqrt(((truth - answer) ** 2).mean()), rel=5e-3)


def test_a_window_of_harder_predictions_is_estimated_worse_and_rightly_so():
    rng = np.random.default_rng(0)
    profile = learn(rng, 20_000)
    truth, answer = houses(rng, 20_000, dearer=2.0)

    estimated = estimate(profile, answer)

    assert estimated["mae"].value == pytest.approx(np.abs(truth - answer).mean(), rel=0.05)


def test_intervals_hold_the_realised_error_as_often_as_they_say():
    rng = np.random.default_rng(0)
    profile = learn(rng, 10_000)
    covered = dict.fromkeys(("mae", "rmse"), 0)

    for _ in range(300):
        truth, answer = houses(rng, 300)
        estimated = estimate(profile, answer)
        realised = {
            "mae": np.abs(truth - answer).mean(),
            "rmse": np.sqrt(((truth - answer) ** 2).mean()),
        }
        for name, value in realised.items():
            covered[name] += estimated[name].lower <= value <= estimated[name].upper

    assert all(0.9 <= hits / 300 <= 0.985 for hits in covered.values()), covered


def test_a_profile_comes_back_from_json():
    profile = learn(np.random.default_rng(0), 500)

    stored = msgspec.json.decode(msgspec.json.encode(profile))

    assert msgspec.convert(stored, ErrorProfile) == profile


@pytest.mark.parametrize("errors", [[np.nan] * 300, [1.0] * 199, [1e200] * 300])
def test_too_few_rows_or_errors_whose_squares_are_no_floats_have_no_profile(errors):
    assert profile_errors(errors, by=[1.0] * len(errors)) is None


@pytest.mark.parametrize("answer", [[], [np.nan]])
def test_an_empty_window_has_no_estimate(answer):
    profile = learn(np.random.default_rng(0), 500)

    assert all(e.value is None for e in estimate(profile, np.array(answer)).values())


def test_predictions_that_are_all_the_same_are_one_bin():
    profile = profile_errors([-1.0, 1.0] * 100, by=[2.0] * 200)

    assert estimate(profile, np.array([2.0, 9.0]))["mae"].value == pytest.approx(1.0)
