import numpy as np
import pytest
from sklearn import metrics

from monitors.stats.mergeable.class_scores import max_steps
from monitors.stats.mergeable.outcomes import (
    merge_outcomes,
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.performance.class_averages import classes_apart
from monitors.stats.performance.estimate import wilson_interval
from monitors.stats.performance.metrics import measure_outcomes


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
        assert measured["average_precision"].value == pytest.approx(
            metrics.average_precision_score(truth, score), abs=2e-3
        )

    def test_auc_is_exact_for_scores_with_ties(self):
        rng = np.random.default_rng(0)
        score = rng.choice([0.001, 0.1, 0.25, 0.5, 0.9, 0.999], size=2_000)
        truth = rng.random(2_000) < score

        measured = measure_outcomes(summarise_binary_outcomes(truth, score > 0.5, score))

        assert measured["roc_auc"].value == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-12)
        assert measured["average_precision"].value == pytest.approx(
            metrics.average_precision_score(truth, score), abs=1e-12
        )

    @pytest.mark.slow
    def test_intervals_cover_the_truth_about_as_often_as_they_say(self):
        rng = np.random.default_rng(0)
        _, many = scored(rng, 400_000)
        labels = rng.random(many.size) < many
        true_auc = metrics.roc_auc_score(labels, many)
        true_loss, true_accuracy = metrics.log_loss(labels, many), metrics.accuracy_score(labels, many > 0.5)
        true_precision = metrics.average_precision_score(labels, many)
        covered = dict.fromkeys(("roc_auc", "log_loss", "accuracy", "average_precision"), 0)

        for _ in range(300):
            truth, score = scored(rng, 300)
            measured = measure_outcomes(summarise_binary_outcomes(truth, score > 0.5, score))
            for name, true in (
                ("roc_auc", true_auc),
                ("log_loss", true_loss),
                ("accuracy", true_accuracy),
                ("average_precision", true_precision),
            ):
                covered[name] += measured[name].lower <= true <= measured[name].upper

        assert all(0.91 <= hits / 300 <= 0.985 for hits in covered.values()), covered

    def test_one_class_alone_has_no_auc(self):
        measured = measure_outcomes(summarise_binary_outcomes([True, True], [True, False], [0.9, 0.2]))

        assert measured["roc_auc"].value is None
        assert measured["recall"].value == 0.5

    def test_positives_alone_have_perfect_average_precision_and_negatives_alone_none(self):
        positives = measure_outcomes(summarise_binary_outcomes([True, True], [True, False], [0.9, 0.2]))
        negatives = measure_outcomes(summarise_binary_outcomes([False, False], [True, False], [0.9, 0.2]))

        assert positives["average_precision"].value == 1.0
        assert negatives["average_precision"].value is None

    def test_a_constant_score_ranks_nothing(self):
        truth = [True, False, False, True, False]

        measured = measure_outcomes(summarise_binary_outcomes(truth, [True] * 5, [0.7] * 5))

        assert measured["roc_auc"].value == 0.5
        assert measured["average_precision"].value == pytest.approx(0.4)
        assert measured["ece"].value == pytest.approx(0.3)

    def test_scores_that_are_nan_leave_classes_judged_and_nothing_else(self):
        measured = measure_outcomes(summarise_binary_outcomes([True, False], [True, False], [np.nan] * 2))

        assert measured["accuracy"].value == 1.0
        assert {name for name, estimate in measured.items() if estimate.value is None} == {
            "roc_auc", "average_precision", "log_loss", "brier", "ece",
        }  # fmt: skip

    def test_no_rows_have_no_metrics(self):
        measured = measure_outcomes(summarise_binary_outcomes([], [], []))

        assert all(estimate.value is None for estimate in measured.values())

    def test_a_model_that_never_says_yes_has_precision_zero(self):
        measured = measure_outcomes(summarise_binary_outcomes([True, False], [False, False], None))

        assert measured["precision"].value == measured["f1"].value == 0.0


def animals(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True classes, answers and probabilities of three classes that occur and one that never does."""
    probability = np.column_stack([rng.dirichlet([2, 1, 1], size=n), np.zeros(n)])
    truth = (probability.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return ANIMALS[truth], ANIMALS[probability.argmax(axis=1)], probability


ANIMALS = np.array(["ant", "bee", "cat", "never"])


class TestMulticlass:
    def test_metrics_equal_scikit_learn(self):
        truth, answer, probability = animals(np.random.default_rng(0), 3_000)

        measured = measure_outcomes(summarise_multiclass_outcomes(ANIMALS, truth, answer, probability))

        assert measured["accuracy"].value == pytest.approx(metrics.accuracy_score(truth, answer))
        for name in ("precision", "recall", "f1"):
            judged = getattr(metrics, f"{name}_score")
            assert measured[name].value == pytest.approx(judged(truth, answer, average="macro"))
        for name in ("precision", "f1"):
            judged = getattr(metrics, f"{name}_score")
            expected = judged(truth, answer, average="weighted")
            assert measured[f"weighted_{name}"].value == pytest.approx(expected)
        assert measured["log_loss"].value == pytest.approx(
            metrics.log_loss(truth, probability, labels=ANIMALS)
        )
        assert measured["brier"].value == pytest.approx(
            metrics.brier_score_loss(truth, probability, labels=ANIMALS, scale_by_half=False)
        )

    def test_each_class_equals_scikit_learn_apart(self):
        truth, answer, probability = animals(np.random.default_rng(1), 800)

        apart = classes_apart(summarise_multiclass_outcomes(ANIMALS, truth, answer, probability))

        assert list(apart) == ["ant", "bee", "cat"]
        precision, recall, f1, rows = metrics.precision_recall_fscore_support(truth, answer)
        for i, measured in enumerate(apart.values()):
            assert measured["class_precision"].value == pytest.approx(precision[i])
            assert measured["class_recall"].value == pytest.approx(recall[i])
            assert measured["class_f1"].value == pytest.approx(f1[i])
            assert measured["class_recall"].n == rows[i]

    def test_a_class_that_was_never_answered_has_no_precision_and_counts_as_zero_in_the_average(self):
        outcome = summarise_multiclass_outcomes(ANIMALS, ["ant", "bee"], ["ant", "ant"], None)

        assert classes_apart(outcome)["bee"]["class_precision"].value is None
        assert measure_outcomes(outcome)["precision"].value == 0.25

    def test_one_class_alone_is_measured(self):
        outcome = summarise_multiclass_outcomes(ANIMALS, ["ant"] * 3, ["ant"] * 3, [[1.0, 0.0, 0.0, 0.0]] * 3)

        measured = measure_outcomes(outcome)

        assert measured["precision"].value == measured["weighted_f1"].value == 1.0
        assert measured["brier"].value == 0.0

    def test_no_rows_and_only_foreign_labels_have_no_averages(self):
        nothing = measure_outcomes(summarise_multiclass_outcomes(ANIMALS, [], [], None))
        foreign = measure_outcomes(summarise_multiclass_outcomes(ANIMALS, ["dog"], ["ant"], None))

        assert all(estimate.value is None for estimate in nothing.values())
        assert foreign["accuracy"].value == 0.0
        assert foreign["f1"].value is None

    def test_rows_without_probabilities_count_by_their_class_alone(self):
        table = [[0.7, 0.2, 0.1, 0.0], [np.nan] * 4]

        measured = measure_outcomes(
            summarise_multiclass_outcomes(ANIMALS, ["ant", "bee"], ["ant", "bee"], table)
        )

        assert (measured["accuracy"].n, measured["brier"].n, measured["ece"].n) == (2, 1, 1)

    @pytest.mark.slow
    def test_intervals_of_averages_cover_the_truth_about_as_often_as_they_say(self):
        rng = np.random.default_rng(0)
        truth, answer, _ = animals(rng, 200_000)
        true = {
            "precision": metrics.precision_score(truth, answer, average="macro"),
            "recall": metrics.recall_score(truth, answer, average="macro"),
            "f1": metrics.f1_score(truth, answer, average="macro"),
            "weighted_precision": metrics.precision_score(truth, answer, average="weighted"),
            "weighted_f1": metrics.f1_score(truth, answer, average="weighted"),
        }
        covered = dict.fromkeys(true, 0)

        for _ in range(300):
            truth, answer, probability = animals(rng, 400)
            measured = measure_outcomes(summarise_multiclass_outcomes(ANIMALS, truth, answer, probability))
            for name, value in true.items():
                covered[name] += measured[name].lower <= value <= measured[name].upper

        assert all(0.91 <= hits / 300 <= 0.985 for hits in covered.values()), covered


class TestEachClassAgainstTheRest:
    def test_equals_scikit_learn(self):
        truth, answer, probability = animals(np.random.default_rng(2), 2_000)
        probability = probability[:, :3]

        outcome = summarise_multiclass_outcomes(ANIMALS[:3], truth, answer, probability)

        measured, apart = measure_outcomes(outcome), classes_apart(outcome)
        for name, average in (("roc_auc", "macro"), ("weighted_roc_auc", "weighted")):
            expected = metrics.roc_auc_score(truth, probability, multi_class="ovr", average=average)
            assert measured[name].value == pytest.approx(expected, abs=1e-9)
        own = truth[:, None] == ANIMALS[:3]
        for name, average in (("average_precision", "macro"), ("weighted_average_precision", "weighted")):
            expected = metrics.average_precision_score(own, probability, average=average)
            assert measured[name].value == pytest.approx(expected, abs=1e-9)
        for place, of_class in enumerate(apart.values()):
            expected = metrics.roc_auc_score(own[:, place], probability[:, place])
            assert of_class["class_roc_auc"].value == pytest.approx(expected, abs=1e-9)

    def test_leaves_out_a_class_without_rows_and_says_so(self):
        truth, answer, probability = animals(np.random.default_rng(3), 400)

        measured = measure_outcomes(summarise_multiclass_outcomes(ANIMALS, truth, answer, probability))

        own = truth[:, None] == ANIMALS[:3]
        expected = metrics.roc_auc_score(own, probability[:, :3], average="macro")
        assert measured["roc_auc"].value == pytest.approx(expected, abs=1e-9)
        assert measured["roc_auc"].detail["classes_left_out"] == 1

    def test_of_one_class_alone_is_undefined(self):
        table = [[0.9, 0.1], [0.8, 0.2]]

        measured = measure_outcomes(
            summarise_multiclass_outcomes(["ant", "bee"], ["ant"] * 2, ["ant"] * 2, table)
        )

        assert measured["roc_auc"].value is None
        assert measured["average_precision"].value is None

    def test_of_many_rows_stays_small_and_close_in_whatever_order_the_parts_come(self):
        rng = np.random.default_rng(4)
        parts = [
            summarise_multiclass_outcomes(ANIMALS[:3], truth, answer, probability[:, :3])
            for truth, answer, probability in (animals(rng, 8_000) for _ in range(3))
        ]
        whole, turned = merge_outcomes(parts), merge_outcomes(parts[::-1])

        assert whole.scores.steps.size <= max_steps(3)
        assert np.array_equal(whole.scores.steps, turned.scores.steps)
        assert np.array_equal(whole.scores.positives, turned.scores.positives)
        exact = np.mean([measure_outcomes(part)["roc_auc"].value for part in parts])
        assert measure_outcomes(whole)["roc_auc"].value == pytest.approx(exact, abs=2e-3)

    def test_of_many_classes_is_close_though_scores_share_steps(self):
        rng = np.random.default_rng(6)
        odds = np.exp(1.5 * rng.normal(size=(1_000, 100)))
        probability = odds / odds.sum(axis=1, keepdims=True)
        place = (probability.cumsum(axis=1) < rng.random((1_000, 1))).sum(axis=1).clip(0, 99)
        names = np.array([f"class {number}" for number in range(100)])

        outcome = summarise_multiclass_outcomes(names, names[place], names[place], probability)

        own = place[:, None] == np.arange(100)
        there = own.any(axis=0)
        measured = measure_outcomes(outcome)
        for name, score in (
            ("roc_auc", metrics.roc_auc_score),
            ("average_precision", metrics.average_precision_score),
        ):
            expected = score(own[:, there], probability[:, there], average="macro")
            assert measured[name].value == pytest.approx(expected, abs=1e-3)

    @pytest.mark.slow
    def test_intervals_hold_the_truth_at_least_as_often_as_they_say(self):
        rng = np.random.default_rng(5)
        names = ("roc_auc", "weighted_roc_auc", "average_precision", "weighted_average_precision")
        truth, answer, probability = animals(rng, 200_000)
        true = measure_outcomes(summarise_multiclass_outcomes(ANIMALS, truth, answer, probability))
        covered = dict.fromkeys(names, 0)

        for _ in range(300):
            truth, answer, probability = animals(rng, 400)
            measured = measure_outcomes(summarise_multiclass_outcomes(ANIMALS, truth, answer, probability))
            for name in names:
                covered[name] += measured[name].lower <= true[name].value <= measured[name].upper

        assert all(hits / 300 >= 0.93 for hits in covered.values()), covered


def house_prices(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.normal(5.0, 3.0, size=n)
    return truth, truth + rng.laplace(0.5, 1.0, size=n)


class TestRegression:
    def test_metrics_equal_scikit_learn_far_from_zero(self):
        rng = np.random.default_rng(0)
        truth = rng.normal(1e7, 3.0, size=5_000)
        answer = truth + rng.normal(0.5, 1.0, size=5_000)

        measured = measure_outcomes(summarise_regression_outcomes(truth, answer))

        assert measured["mae"].value == pytest.approx(metrics.mean_absolute_error(truth, answer))
        assert measured["rmse"].value == pytest.approx(metrics.root_mean_squared_error(truth, answer))
        assert measured["mape"].value == pytest.approx(metrics.mean_absolute_percentage_error(truth, answer))
        assert measured["median_absolute_error"].value == pytest.approx(
            metrics.median_absolute_error(truth, answer), rel=0.01
        )
        assert measured["r2"].value == pytest.approx(metrics.r2_score(truth, answer))
        assert measured["bias"].value == pytest.approx((answer - truth).mean())
        assert all(e.lower < e.value < e.upper for e in measured.values())

    @pytest.mark.parametrize("quantile", [0.05, 0.5, 0.9])
    def test_quantile_loss_equals_scikit_learn(self, quantile):
        truth, answer = house_prices(np.random.default_rng(0), 3_000)

        outcome = summarise_regression_outcomes(truth, answer)
        measured = measure_outcomes(outcome, quantile=quantile)["pinball_loss"]

        assert measured.value == pytest.approx(metrics.mean_pinball_loss(truth, answer, alpha=quantile))
        losses = np.where(truth > answer, quantile * (truth - answer), (1 - quantile) * (answer - truth))
        half = 1.959964 * losses.std(ddof=1) / np.sqrt(losses.size)
        assert (measured.lower, measured.upper) == pytest.approx(
            (losses.mean() - half, losses.mean() + half), rel=1e-6
        )

    def test_quantile_loss_is_measured_only_where_a_quantile_is_declared(self):
        assert "pinball_loss" not in measure_outcomes(summarise_regression_outcomes([1.0], [2.0]))

    def test_percentage_error_is_of_the_labels_size_and_counts_zero_labels_apart(self):
        # Evidently divides by max(label, eps) and gives 4.5e17 here.
        outcome = summarise_regression_outcomes(
            [-10.0, -20.0, 0.0, -0.0, 1e-300], [-11.0, -21.0, 1.0, 5.0, 2.0]
        )

        measured = measure_outcomes(outcome)["mape"]

        assert measured.value == pytest.approx(0.075)
        assert (measured.n, measured.detail) == (2, {"zero_labels": 3})

    def test_intervals_cover_the_truth_about_as_often_as_they_say(self):
        rng = np.random.default_rng(0)
        truth, answer = house_prices(rng, 400_000)
        true = {
            "r2": metrics.r2_score(truth, answer),
            "median_absolute_error": metrics.median_absolute_error(truth, answer),
            "mae": metrics.mean_absolute_error(truth, answer),
        }
        covered = dict.fromkeys(true, 0)

        for _ in range(300):
            measured = measure_outcomes(summarise_regression_outcomes(*house_prices(rng, 300)))
            for name, value in true.items():
                covered[name] += measured[name].lower <= value <= measured[name].upper

        assert all(0.91 <= hits / 300 <= 0.985 for hits in covered.values()), covered

    @pytest.mark.parametrize("label", [5.0, 1_000_000.564, -1 / 3])
    @pytest.mark.parametrize("rows", [2, 3, 7])
    def test_labels_that_do_not_vary_have_no_r2(self, label, rows):
        predictions = label + np.arange(rows)

        assert (
            measure_outcomes(summarise_regression_outcomes([label] * rows, predictions))["r2"].value is None
        )

    def test_no_rows_and_one_row_are_measured_as_far_as_they_go(self):
        nothing = measure_outcomes(summarise_regression_outcomes([np.nan], [1.0]), quantile=0.5)
        single = measure_outcomes(summarise_regression_outcomes([2.0], [3.0]), quantile=0.5)

        assert all(estimate.value is None for estimate in nothing.values())
        assert (single["mae"].value, single["mape"].value, single["pinball_loss"].value) == (1.0, 0.5, 0.5)
        assert all(estimate.lower is None for estimate in single.values())

    def test_errors_too_large_to_square_are_undefined_and_break_nothing(self):
        far = summarise_regression_outcomes([1.0, -1e200, 1e300], [1e200, 1.0, 2.0])
        near = summarise_regression_outcomes([1.0, 2.0], [1.0, 3.0])

        measured = measure_outcomes(merge_outcomes([near, far, near]), quantile=0.9)

        assert measured["rmse"].value is None
        assert measured["r2"].value is None


def test_wilson_interval_is_the_textbook_one():
    # Newcombe (1998), table I: 81 of 263.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
