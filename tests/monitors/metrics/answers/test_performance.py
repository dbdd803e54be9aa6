"""What becomes of labelled windows as points: limits, statuses, classes, intervals and what is said beside them."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitors.definitions.outcomes import usual_performance
from monitors.metrics.answers.performance import Ripeness, performance_points
from monitors.metrics.catalogue import METRICS
from monitors.metrics.store.points import Point
from monitors.stats.mergeable.outcomes import (
    OutcomeSummary,
    merge_outcomes,
    summarise_binary_outcomes,
    summarise_multiclass_outcomes,
    summarise_regression_outcomes,
)
from monitors.stats.mergeable.sketches import summarise_categories
from monitors.stats.mergeable.window_summary import WindowSummary

END = datetime(2026, 1, 6, tzinfo=UTC)
RIPE = Ripeness(min_rows=20, min_coverage=0.5, label_lag=timedelta(0), ended_until=END)
CLASSES = ("ant", "bee", "cat")


def points_of(outcome: OutcomeSummary, **given: object) -> dict[tuple[str, str], Point]:
    known = {
        "rows": outcome.n,
        "prediction": None,
        "usual": {},
        "quantile": None,
        "blocks": (),
        "reference_id": None,
    } | given
    summary = WindowSummary(
        rows=known["rows"],
        features={},
        prediction=known["prediction"],
        outcome=outcome,
        labelled=outcome.n,
    )
    points = performance_points(
        summary, known["usual"], end=END, ripeness=RIPE, positive_class=None, quantile=known["quantile"],
        blocks=known["blocks"], reference_id=known["reference_id"],
    )  # fmt: skip
    return {(point.metric, point.feature): point for point in points}


def off_by(bias: float, n: int = 100) -> OutcomeSummary:
    return summarise_regression_outcomes(np.arange(n), np.arange(n) + bias)


def test_every_point_of_every_task_is_in_the_catalogue_and_says_how_its_interval_was_made():
    rng = np.random.default_rng(0)
    truth, answer = rng.choice(CLASSES, 300), rng.choice(CLASSES, 300)
    animals = summarise_multiclass_outcomes(CLASSES, truth, answer, rng.dirichlet([1, 1, 1], 300))
    prices = summarise_regression_outcomes(rng.normal(size=300), rng.normal(size=300))

    points = points_of(animals) | points_of(prices, quantile=0.9)

    assert {metric for metric, _ in points} <= METRICS.keys()
    for (metric, feature), point in points.items():
        assert METRICS[metric].has_feature == bool(feature)
        if metric != "label_coverage":
            assert point.lower <= point.value <= point.upper, metric
            assert point.detail["method"]


@pytest.mark.parametrize(
    ("bias", "status", "limit"), [(0.0, "ok", 1.0), (3.0, "warning", 1.0), (-3.0, "warning", -1.0)]
)
def test_a_bias_beyond_either_end_of_the_usual_is_a_warning(bias, status, limit):
    point = points_of(off_by(bias), usual={"bias": {"low": -1.0, "high": 1.0}})["bias", ""]

    assert (point.status, point.threshold) == (status, limit)


@pytest.mark.parametrize(
    ("metric", "usual", "status"),
    [
        ("mape", {"low": 0.0, "high": 1e-9}, "warning"),
        ("mape", {"low": 1e3, "high": 1e6}, "ok"),
        ("r2", {"low": 0.9999, "high": 1.0}, "warning"),
        ("median_absolute_error", {"low": 0.0, "high": 9.0}, "ok"),
    ],
)
def test_a_metric_is_judged_in_its_own_direction(metric, usual, status):
    assert points_of(off_by(3.0), usual={metric: usual})[metric, ""].status == status


@pytest.mark.parametrize(("strength", "status"), [(-2.0, "warning"), (-0.02, "ok"), (2.0, "ok")])
def test_an_auc_below_chance_is_a_warning_whatever_the_reference_showed(strength, status):
    rng = np.random.default_rng(0)
    truth = rng.random(400) < 0.5
    score = 1 / (1 + np.exp(-strength * (truth - 0.5) - rng.normal(0, 0.3, 400)))
    outcome = summarise_binary_outcomes(truth, score > 0.5, score)

    point = points_of(outcome, usual={"roc_auc": {"mean": 0.2, "low": 0.0, "high": 0.3}})["roc_auc", ""]

    assert point.status == status
    assert point.detail.get("below_chance", False) == (point.value < 0.5)


def test_a_reference_of_one_day_leaves_room_for_chance_and_for_no_more():
    rng = np.random.default_rng(0)

    def prices(n: int, spread: float = 1.0) -> OutcomeSummary:
        return summarise_regression_outcomes(np.zeros(n), rng.normal(0, spread, n))

    usual = usual_performance([prices(1_000)], None)
    quiet = [points_of(prices(200), usual=usual)["mae", ""].status for _ in range(100)]
    worse = [points_of(prices(200, 1.3), usual=usual)["mae", ""].status for _ in range(20)]

    assert usual["mae"]["low"] < usual["mae"]["mean"] < usual["mae"]["high"]
    assert (
        quiet.count("warning") <= 7
    )  # one in forty by design, one in two where the mean itself is the limit
    assert worse.count("warning") >= 18


def test_zero_labels_are_told_beside_the_percentage_error():
    assert points_of(off_by(1.0))["mape", ""].detail["zero_labels"] == 1


def test_a_class_of_few_rows_is_insufficient_and_one_never_answered_has_no_precision():
    truth = ["ant"] * 50 + ["bee"] * 50 + ["cat"] * 3
    outcome = summarise_multiclass_outcomes(CLASSES, truth, ["ant"] * 60 + ["bee"] * 43, None)

    points = points_of(outcome)

    assert {name: points["class_recall", name].status for name in CLASSES} == {
        "ant": "ok",
        "bee": "ok",
        "cat": "insufficient",
    }
    assert points["class_recall", "bee"].value == pytest.approx(0.8)
    assert points["class_precision", "cat"].status == "no_data"


def test_of_very_many_classes_the_largest_are_told_apart():
    classes = [f"c{i:03}" for i in range(120)]
    truth = [name for i, name in enumerate(classes) for _ in range(i + 1)]

    points = points_of(summarise_multiclass_outcomes(classes, truth, truth, None))

    told = {feature for metric, feature in points if metric == "class_recall"}
    assert told == set(classes[70:])


def test_a_class_whose_answers_get_labels_more_often_makes_the_labels_selective():
    answers = ["ant"] * 300 + ["bee"] * 300 + ["cat"] * 5
    known = ["ant"] * 290 + ["bee"] * 100
    outcome = summarise_multiclass_outcomes(CLASSES, known, known, None)
    even = ["ant"] * 150 + ["bee"] * 150

    selective = points_of(outcome, rows=605, prediction=summarise_categories(answers))
    fair = points_of(
        summarise_multiclass_outcomes(CLASSES, even, even, None),
        rows=605,
        prediction=summarise_categories(answers),
    )

    assert selective["accuracy", ""].detail["selective_labels"]
    assert "selective_labels" not in fair["accuracy", ""].detail


def test_hours_that_differ_widen_the_interval_of_their_day():
    hours = [off_by(bias) for bias in (-4.0, -3.0, -1.0, 0.0, 1.0, 2.0, 5.0)]
    day = merge_outcomes(hours)

    by_rows, by_hours = points_of(day)["bias", ""], points_of(day, blocks=hours)["bias", ""]

    assert (by_rows.detail["method"], by_hours.detail["method"]) == ("normal", "jackknife")
    assert by_hours.detail["blocks"] == 7
    assert by_hours.upper - by_hours.lower > 5 * (by_rows.upper - by_rows.lower)


def test_a_class_of_a_name_that_no_point_can_hold_is_seen_in_the_averages_alone():
    classes = ("", "ant", "b" * 200, "c" * 201)
    truth = [classes[number % 4] for number in range(400)]

    points = points_of(summarise_multiclass_outcomes(classes, truth, truth, None))

    assert {feature for metric, feature in points if metric == "class_recall"} == {"ant", "b" * 200}
    assert points["recall", ""].value == 1


class TestChance:
    """How often a window as good as the reference is that bad, which evidence of many windows is made from."""

    def of_mae(self, bias: float, *days: float) -> dict[str, object]:
        usual = usual_performance([off_by(one) for one in days], None)
        return points_of(off_by(bias), usual=usual, reference_id=7)["mae", ""].detail

    def test_is_small_where_the_error_is_large(self):
        days = np.random.default_rng(0).normal(10, 1, 40)

        chances = [self.of_mae(bias, *days)["p_value"] for bias in (8.0, 10.0, 11.5, 14.0)]

        assert chances[0] > 0.9
        assert 0.3 < chances[1] < 0.7
        assert 0.02 < chances[2] < 0.1
        assert chances[3] < 0.001

    def test_knows_the_reference_and_how_many_windows_it_is_worth(self):
        detail = self.of_mae(10.0, *np.arange(9.0, 12.0, 0.1))

        assert (detail["reference_id"], detail["reference_windows"]) == (7, 30)

    @pytest.mark.parametrize("days", [(9.0, 10.0, 11.0), ()])
    def test_of_few_days_is_not_known(self, days):
        assert "p_value" not in self.of_mae(10.0, *days)

    @pytest.mark.slow
    def test_holds_days_without_drift_to_its_word(self):
        rng = np.random.default_rng(0)

        chances = [self.of_mae(bias, *rng.normal(10, 1, 20))["p_value"] for bias in rng.normal(10, 1, 300)]

        assert 0.02 < np.mean(np.array(chances) < 0.05) < 0.09

    def test_of_a_bias_is_not_asked(self):
        usual = usual_performance([off_by(one) for one in range(9)], None)

        points = points_of(off_by(20.0), usual=usual, reference_id=7)

        assert "p_value" not in points["bias", ""].detail
