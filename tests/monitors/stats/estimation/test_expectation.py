import numpy as np
import pytest
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression

from monitors.stats.estimation.expectation import ConfidenceEstimator, estimate_performance, prepare_estimator
from monitors.stats.mergeable.outcomes import (
    BinaryOutcomeSummary,
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
)
from monitors.stats.mergeable.sketches import NumericSummary, merge_numbers, summarise_numbers

CLASSES = ("ant", "bee", "cat")


def rows_of(
    rng: np.random.Generator, n: int, *, shift: float = 0.0, sharpness: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores; a sharpness above 1 makes the scores bolder than they may be."""
    log_odds = rng.normal(shift, 1.5, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-log_odds))
    return truth, 1 / (1 + np.exp(-sharpness * log_odds))


def reference_of(truth: np.ndarray, score: np.ndarray, *, limit: float = 0.5) -> BinaryOutcomeSummary:
    return summarise_binary_outcomes(truth, score > limit, score)


def prepared(outcome: BinaryOutcomeSummary) -> ConfidenceEstimator:
    estimator = prepare_estimator(outcome, rng=np.random.default_rng(0))
    assert isinstance(estimator, ConfidenceEstimator), estimator
    return estimator


def grid(score: np.ndarray) -> NumericSummary:
    return summarise_numbers(score, centre=0.0)


def as_is(score: np.ndarray) -> ConfidenceEstimator:
    """An estimator that takes scores at their word."""
    flat = np.zeros((1, 2), dtype=np.float32)
    return ConfidenceEstimator(np.array([0.0, 1.0]), np.array([0.0, 1.0]), flat, True, False)


def expected_from_rows(chance: np.ndarray, score: np.ndarray, limit: float) -> dict[str, float]:
    """CBPE row by row, as NannyML computes it: expected confusion, and ROC AUC in the order of the raw score."""
    yes = score > limit
    tp, fp = chance[yes].sum(), (1 - chance[yes]).sum()
    tn, fn = (1 - chance[~yes]).sum(), chance[~yes].sum()
    order = np.argsort(-score)
    true_rate = np.concatenate([[0], np.cumsum(chance[order])]) / chance.sum()
    false_rate = np.concatenate([[0], np.cumsum(1 - chance[order])]) / (1 - chance).sum()
    return {
        "accuracy": (tp + tn) / chance.size,
        "precision": tp / (tp + fp),
        "recall": tp / (tp + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
        "roc_auc": np.trapezoid(true_rate, false_rate),
    }


@pytest.mark.parametrize("limit", [0.2, 0.5, 0.9])
def test_estimates_from_the_grid_equal_those_from_rows(limit):
    _, score = rows_of(np.random.default_rng(0), 5_000)

    estimated = estimate_performance(
        as_is(score), grid(score), answered=int((score > limit).sum()), rng=np.random.default_rng(0)
    )

    for name, value in expected_from_rows(score, score, limit).items():
        assert estimated[name].value == pytest.approx(value, abs=1e-3), name


def test_recalibration_equals_scikit_learns_isotonic_regression():
    truth, score = rows_of(np.random.default_rng(0), 20_000, sharpness=2.5)

    estimator = prepared(reference_of(truth, score))

    assert estimator.is_recalibrated
    fitted = IsotonicRegression(out_of_bounds="clip").fit(score, truth)
    inside = np.linspace(0.02, 0.98, 97)
    assert estimator.calibrated(inside) == pytest.approx(fitted.predict(inside), abs=0.03)


def test_perfectly_calibrated_scores_estimate_the_expectation():
    rng = np.random.default_rng(0)
    estimator = prepared(reference_of(*rows_of(rng, 50_000)))
    truth, score = rows_of(rng, 200_000, shift=1.0)
    realised = {
        "accuracy": metrics.accuracy_score(truth, score > 0.5),
        "precision": metrics.precision_score(truth, score > 0.5),
        "recall": metrics.recall_score(truth, score > 0.5),
        "f1": metrics.f1_score(truth, score > 0.5),
        "roc_auc": metrics.roc_auc_score(truth, score),
        "log_loss": metrics.log_loss(truth, score),
        "brier": metrics.brier_score_loss(truth, score),
    }

    estimated = estimate_performance(
        estimator, grid(score), answered=int((score > 0.5).sum()), rng=np.random.default_rng(0)
    )

    assert {name: e.value for name, e in estimated.items()} == pytest.approx(realised, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_intervals_hold_the_realised_metric_of_shifted_windows_as_often_as_they_say(sharpness):
    rng = np.random.default_rng(0)
    covered = dict.fromkeys(("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss"), 0)

    for number in range(200):
        if number % 10 == 0:  # what a reference got wrong, it gets wrong in all its windows
            estimator = prepared(reference_of(*rows_of(rng, 2_000, sharpness=sharpness)))
        truth, score = rows_of(rng, 400, shift=0.7, sharpness=sharpness)
        yes = score > 0.5
        estimated = estimate_performance(estimator, grid(score), answered=int(yes.sum()), rng=rng)
        realised = {
            "accuracy": metrics.accuracy_score(truth, yes),
            "precision": metrics.precision_score(truth, yes),
            "recall": metrics.recall_score(truth, yes),
            "f1": metrics.f1_score(truth, yes),
            "roc_auc": metrics.roc_auc_score(truth, score),
            "log_loss": metrics.log_loss(truth, score),
        }
        for name, value in realised.items():
            covered[name] += estimated[name].lower <= value <= estimated[name].upper

    assert all(0.89 <= hits / 200 <= 0.99 for hits in covered.values()), covered


def test_bold_scores_are_estimated_worse_than_they_say_of_themselves():
    rng = np.random.default_rng(0)
    estimator = prepared(reference_of(*rows_of(rng, 10_000, sharpness=3.0)))
    _, score = rows_of(rng, 2_000, sharpness=3.0)
    answered = int((score > 0.5).sum())

    believed = estimate_performance(as_is(score), grid(score), answered=answered, rng=rng)
    estimated = estimate_performance(estimator, grid(score), answered=answered, rng=rng)

    assert estimated["accuracy"].value < believed["accuracy"].value - 0.05


def test_the_estimate_of_merged_parts_is_that_of_the_whole():
    rng = np.random.default_rng(0)
    estimator = prepared(reference_of(*rows_of(rng, 3_000)))
    _, score = rows_of(rng, 900)
    parts = merge_numbers([grid(score[:100]), grid(score[100:500]), grid(score[500:])])

    whole = estimate_performance(estimator, grid(score), answered=450, rng=np.random.default_rng(5))
    merged = estimate_performance(estimator, parts, answered=450, rng=np.random.default_rng(5))

    for name, estimate in whole.items():
        assert merged[name].value == pytest.approx(estimate.value)


def test_the_same_draws_give_the_same_interval():
    estimator = prepared(reference_of(*rows_of(np.random.default_rng(0), 1_000)))
    window = grid(np.linspace(0.1, 0.9, 300))

    first = estimate_performance(estimator, window, answered=150, rng=np.random.default_rng(7))
    again = estimate_performance(estimator, window, answered=150, rng=np.random.default_rng(7))

    assert first == again


class TestEdges:
    def test_a_window_without_scores_has_no_estimate(self):
        estimator = prepared(reference_of(*rows_of(np.random.default_rng(0), 1_000)))

        for nothing in ([], [np.nan, np.nan]):
            estimated = estimate_performance(
                estimator, grid(np.array(nothing)), answered=0, rng=np.random.default_rng(0)
            )
            assert all(estimate.value is None for estimate in estimated.values())

    def test_a_constant_score_ranks_nothing_and_is_estimated(self):
        estimator = as_is(np.empty(0))

        estimated = estimate_performance(
            estimator, grid(np.full(100, 0.7)), answered=100, rng=np.random.default_rng(0)
        )

        assert estimated["roc_auc"].value == pytest.approx(0.5)
        assert estimated["accuracy"].value == pytest.approx(0.7, abs=1e-3)

    @pytest.mark.parametrize("answered", [0, 300])
    def test_one_answer_alone_leaves_undefined_what_needs_the_other(self, answered):
        estimated = estimate_performance(
            as_is(np.empty(0)),
            grid(np.linspace(0.1, 0.9, 300)),
            answered=answered,
            rng=np.random.default_rng(0),
        )

        assert estimated["accuracy"].value == pytest.approx(0.5, abs=2e-3)
        assert (estimated["precision"].value is None) == (answered == 0)
        assert estimated["recall"].value == pytest.approx(1.0 if answered else 0.0)

    def test_more_answers_than_scored_rows_are_all_of_them(self):
        estimated = estimate_performance(
            as_is(np.empty(0)), grid(np.full(10, 0.8)), answered=99, rng=np.random.default_rng(0)
        )

        assert estimated["recall"].value == pytest.approx(1.0)

    @pytest.mark.parametrize(
        ("truth", "answer", "score", "why"),
        [
            ([True], [True], [0.9], "1 rows"),
            ([True, False] * 50, [True, False] * 50, None, "0 rows"),
            ([True] * 300, [True] * 300, [0.9] * 300, "the same"),
            ([True, False] * 150, [True, False] * 150, [0.1, 0.9] * 150, "threshold"),
        ],
    )
    def test_a_reference_that_cannot_tell_says_why(self, truth, answer, score, why):
        reason = prepare_estimator(
            summarise_binary_outcomes(truth, answer, score), rng=np.random.default_rng(0)
        )

        assert isinstance(reason, str)
        assert why in reason


def test_of_several_classes_the_accuracy_is_estimated_from_the_answers_own_probability():
    rng = np.random.default_rng(0)

    def animals(n: int, sharp: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        table = rng.dirichlet(np.full(3, sharp), size=n)
        truth = (table.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
        return np.array(CLASSES)[truth], np.array(CLASSES)[table.argmax(axis=1)], table

    estimator = prepare_estimator(summarise_multiclass_outcomes(CLASSES, *animals(5_000, 1.0)), rng=rng)
    truth, answer, table = animals(2_000, 0.4)

    assert isinstance(estimator, ConfidenceEstimator)
    estimated = estimate_performance(estimator, grid(table.max(axis=1)), answered=0, rng=rng)

    assert list(estimated) == ["accuracy"]
    assert estimated["accuracy"].lower <= (truth == answer).mean() <= estimated["accuracy"].upper
