import numpy as np
import pytest
from sklearn import metrics

from monitors.stats.outcomes import (
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.performance import measure_outcomes, wilson_interval


def scored(rng: np.random.Generator, n: int, *, rare: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and well-made scores; `rare` shifts the scores towards 0."""
    score = 1 / (1 + np.exp(rare - rng.normal(size=n)))
    return rng.random(n) < score, score


class TestBinary:
    @pytest.mark.parametrize("rare", [0.0, 4.0])
    def test_metrics_equal_scikit_learn(self, rare):
        truth, score = scored(np.random.default_rng(0), 20_000, rare=rare)
        answer = score >= 0.3

        measured = measure_outcomes(summarise_binary_outcomes(truth, answer, score))

        assert measured["accuracy"].value == pytest.approx(metrics.accuracy_score(truth, answer))
        assert measured["precision"].value == pytest.approx(
            metrics.precision_score(truth, answer, zero_division=0)
        )
        assert measured["recall"].value == pytest.approx(metrics.recall_score(truth, answer))
        assert measured["f1"].value == pytest.approx(metrics.f1_score(truth, answer))
        assert measured["log_loss"].value == pytest.approx(metrics.log_loss(truth, score))
        assert measured["brier"].value == pytest.approx(metrics.brier_score_loss(truth, score))
        assert measured["roc_auc"].value == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-3)

    def test_auc_is_exact_for_scores_with_ties(self):
        rng = np.random.default_rng(0)
        score = rng.choice([0.001, 0.1, 0.25, 0.5, 0.9, 0.999], size=2_000)
        truth = rng.random(2_000) < score

        measured = measure_outcomes(summarise_binary_outcomes(truth, score > 0.5, score))

        assert measured["roc_auc"].value == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-12)

    def test_intervals_cover_the_truth_about_as_often_as_they_say(self):
        rng = np.random.default_rng(0)
        _, many = scored(rng, 400_000)
        labels = rng.random(many.size) < many
        true_auc = metrics.roc_auc_score(labels, many)
        true_loss, true_accuracy = metrics.log_loss(labels, many), metrics.accuracy_score(labels, many > 0.5)
        covered = dict.fromkeys(("roc_auc", "log_loss", "accuracy"), 0)

        for _ in range(300):
            truth, score = scored(rng, 300)
            measured = measure_outcomes(summarise_binary_outcomes(truth, score > 0.5, score))
            for name, true in (("roc_auc", true_auc), ("log_loss", true_loss), ("accuracy", true_accuracy)):
                covered[name] += measured[name].lower <= true <= measured[name].upper

        assert all(0.91 <= hits / 300 <= 0.985 for hits in covered.values()), covered

    def test_one_class_alone_has_no_auc(self):
        measured = measure_outcomes(summarise_binary_outcomes([True, True], [True, False], [0.9, 0.2]))

        assert measured["roc_auc"].value is None
        assert measured["recall"].value == 0.5

    def test_no_rows_have_no_metrics(self):
        measured = measure_outcomes(summarise_binary_outcomes([], [], []))

        assert all(estimate.value is None for estimate in measured.values())

    def test_a_model_that_never_says_yes_has_precision_zero(self):
        measured = measure_outcomes(summarise_binary_outcomes([True, False], [False, False], None))

        assert measured["precision"].value == measured["f1"].value == 0.0


class TestMulticlass:
    def test_metrics_equal_scikit_learn(self):
        rng = np.random.default_rng(0)
        classes = ["ant", "bee", "cat", "never"]
        probability = np.column_stack([rng.dirichlet([2, 1, 1], size=3_000), np.zeros(3_000)])
        truth = np.array([classes[rng.choice(4, p=row)] for row in probability])
        answer = np.array(classes)[probability.argmax(axis=1)]

        measured = measure_outcomes(summarise_multiclass_outcomes(classes, truth, answer, probability))

        assert measured["accuracy"].value == pytest.approx(metrics.accuracy_score(truth, answer))
        assert measured["f1"].value == pytest.approx(metrics.f1_score(truth, answer, average="macro"))
        assert measured["precision"].value == pytest.approx(
            metrics.precision_score(truth, answer, average="macro")
        )
        assert measured["recall"].value == pytest.approx(metrics.recall_score(truth, answer, average="macro"))
        assert measured["log_loss"].value == pytest.approx(
            metrics.log_loss(truth, probability, labels=classes)
        )


class TestRegression:
    def test_metrics_equal_scikit_learn_far_from_zero(self):
        rng = np.random.default_rng(0)
        truth = rng.normal(1e7, 3.0, size=5_000)
        answer = truth + rng.normal(0.5, 1.0, size=5_000)

        measured = measure_outcomes(summarise_regression_outcomes(truth, answer))

        assert measured["mae"].value == pytest.approx(metrics.mean_absolute_error(truth, answer))
        assert measured["rmse"].value == pytest.approx(metrics.root_mean_squared_error(truth, answer))
        assert measured["r2"].value == pytest.approx(metrics.r2_score(truth, answer))
        assert measured["bias"].value == pytest.approx((answer - truth).mean())
        assert all(e.lower < e.value < e.upper for name, e in measured.items() if name != "r2")

    def test_labels_that_do_not_vary_have_no_r2(self):
        assert measure_outcomes(summarise_regression_outcomes([5.0, 5.0], [4.0, 6.0]))["r2"].value is None


def test_wilson_interval_is_the_textbook_one():
    # Newcombe (1998), table I: 81 of 263.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
