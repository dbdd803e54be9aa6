import msgspec
import numpy as np
import pytest

from monitors.stats.error_profile import ErrorProfile, estimate_errors, profile_errors
from monitors.stats.sketches import NumericSummary, summarise_numbers


def houses(rng: np.random.Generator, n: int, *, dearer: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Prices and predictions; the dearer a house, the larger the error."""
    answer = rng.gamma(3.0, 1.0, n) + dearer * rng.random(n)
    return answer + rng.normal(size=n) * (0.1 + 0.3 * answer), answer


def grid(answer: np.ndarray) -> NumericSummary:
    return summarise_numbers(answer, centre=0.0)


def test_a_window_like_the_reference_is_estimated_as_the_reference_was():
    truth, answer = houses(np.random.default_rng(0), 5_000)

    estimated = estimate_errors(profile_errors(truth, answer), grid(answer))

    assert estimated["mae"].value == pytest.approx(np.abs(truth - answer).mean(), rel=5e-3)
    assert estimated["rmse"].value == pytest.approx(np.sqrt(((truth - answer) ** 2).mean()), rel=5e-3)


def test_a_window_of_harder_predictions_is_estimated_worse_and_rightly_so():
    rng = np.random.default_rng(0)
    profile = profile_errors(*houses(rng, 20_000))
    truth, answer = houses(rng, 20_000, dearer=2.0)

    estimated = estimate_errors(profile, grid(answer))

    assert estimated["mae"].value == pytest.approx(np.abs(truth - answer).mean(), rel=0.05)


def test_intervals_hold_the_realised_error_as_often_as_they_say():
    rng = np.random.default_rng(0)
    profile = profile_errors(*houses(rng, 10_000))
    covered = dict.fromkeys(("mae", "rmse"), 0)

    for _ in range(300):
        truth, answer = houses(rng, 300)
        estimated = estimate_errors(profile, grid(answer))
        realised = {
            "mae": np.abs(truth - answer).mean(),
            "rmse": np.sqrt(((truth - answer) ** 2).mean()),
        }
        for name, value in realised.items():
            covered[name] += estimated[name].lower <= value <= estimated[name].upper

    assert all(0.9 <= hits / 300 <= 0.985 for hits in covered.values()), covered


def test_a_profile_comes_back_from_json():
    profile = profile_errors(*houses(np.random.default_rng(0), 500))

    stored = msgspec.json.decode(msgspec.json.encode(profile))

    assert msgspec.convert(stored, ErrorProfile) == profile


def test_too_small_a_reference_has_no_profile():
    assert profile_errors([np.nan] * 300, [1.0] * 300) is None
    assert profile_errors([1.0] * 199, [1.0] * 199) is None


@pytest.mark.parametrize("answer", [[], [np.nan]])
def test_an_empty_window_has_no_estimate(answer):
    profile = profile_errors(*houses(np.random.default_rng(0), 500))

    assert all(e.value is None for e in estimate_errors(profile, grid(np.array(answer))).values())


def test_predictions_that_are_all_the_same_are_one_bin():
    profile = profile_errors([1.0, 3.0] * 100, [2.0] * 200)

    assert estimate_errors(profile, grid(np.array([2.0, 9.0])))["mae"].value == pytest.approx(1.0)
