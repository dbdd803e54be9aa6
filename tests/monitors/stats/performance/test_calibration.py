import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from monitors.stats.mergeable.outcomes import BinaryOutcomeSummary, summarise_binary_outcomes
from monitors.stats.mergeable.sketches import summarise_numbers
from monitors.stats.performance.calibration import expected_calibration_error, reliability


def outcome_of(truth: np.ndarray, score: np.ndarray) -> BinaryOutcomeSummary:
    return summarise_binary_outcomes(truth, score > 0.5, score)


def overconfident(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    score = rng.beta(0.5, 0.5, size=n)
    return rng.random(n) < 0.2 + 0.6 * score, score


def error_from_rows(truth: np.ndarray, score: np.ndarray) -> float:
    bins = np.clip(np.ceil(score * 10) - 1, 0, 9)
    return sum(abs((truth[bins == b] - score[bins == b]).sum()) for b in range(10)) / truth.size


def test_reliability_equals_scikit_learn():
    truth, score = overconfident(np.random.default_rng(0), 20_000)

    outcome = outcome_of(truth, score)
    found = reliability(outcome.positives, outcome.negatives)

    observed, predicted = calibration_curve(truth, score, n_bins=10)
    assert [b.observed for b in found] == pytest.approx(observed, abs=5e-3)
    assert [b.predicted for b in found] == pytest.approx(predicted, abs=2e-3)
    assert sum(b.n for b in found) == 20_000
    assert all(b.low <= b.predicted <= b.high and b.lower < b.observed < b.upper for b in found)


@pytest.mark.parametrize("seed", range(3))
def test_the_calibration_error_equals_the_one_from_rows(seed):
    truth, score = overconfident(np.random.default_rng(seed), 5_000)

    outcome = outcome_of(truth, score)
    measured = expected_calibration_error(outcome.positives, outcome.negatives)

    assert measured.value == pytest.approx(error_from_rows(truth, score), abs=2e-3)


def test_scores_on_the_edge_of_a_bin_stay_together_whatever_their_sums_round_to():
    rng = np.random.default_rng(0)
    score = rng.choice([0.1, 0.2, 0.3, 0.7, 0.8, 0.9], size=999)

    outcome = outcome_of(rng.random(999) < 0.5, score)

    assert len(reliability(outcome.positives, outcome.negatives)) == 6


def test_calibrated_scores_show_about_the_noise_that_is_told():
    rng = np.random.default_rng(0)
    values, noises = [], []

    for _ in range(100):
        score = rng.random(500)
        outcome = outcome_of(rng.random(500) < score, score)
        measured = expected_calibration_error(outcome.positives, outcome.negatives)
        values.append(measured.value)
        noises.append(measured.detail["noise"])

    assert np.mean(values) == pytest.approx(np.mean(noises), rel=0.1)


def test_its_interval_covers_a_real_miscalibration():
    rng = np.random.default_rng(0)
    truth, score = overconfident(rng, 400_000)
    true, covered = error_from_rows(truth, score), 0

    for _ in range(200):
        outcome = outcome_of(*overconfident(rng, 1_000))
        measured = expected_calibration_error(outcome.positives, outcome.negatives)
        covered += measured.lower <= true <= measured.upper

    assert 0.9 <= covered / 200 <= 0.99


def test_nothing_has_no_calibration():
    nothing = summarise_numbers([], centre=0.0)

    assert expected_calibration_error(nothing, nothing).value is None
    assert reliability(nothing, nothing) == []
