"""Labelled predictions of every task, from the log to the points that pages and rules read."""

from datetime import timedelta

import msgspec
import numpy as np
import pytest
from sklearn.metrics import f1_score, mean_pinball_loss, recall_score

from driftline.base.accounts.models import Project
from driftline.base.periods import rfc3339
from inference.prediction_log.items import LabelItem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.metrics.selectors import longer_points
from monitors.metrics.store.models import MetricPoint
from tests.worlds.animals import CLASSES, animals, tell_classes
from tests.worlds.approvals import DAY, give_reference, label, log, rows_of_a_day, truths, work

pytestmark = pytest.mark.slow


def day_points(model: Model) -> dict[tuple[str, str], MetricPoint]:
    found = MetricPoint.objects.filter(model=model, span="day", start=DAY, role="champion", version="")
    return {(point.metric, point.feature): point for point in found.filter(segment="")}


@pytest.fixture
def zoo(project: Project, home: object) -> Model:
    return create_model(
        project=project, name="zoo", task="multiclass", actor="test", objectives={"label_lag_hours": 0}
    )


def test_a_multiclass_model_is_measured_as_a_whole_and_by_class(zoo: Model) -> None:
    tell_classes(zoo)
    rows, labels = animals(600)
    log(zoo, rows)
    label(zoo, labels)

    work(zoo)

    truth, answer = [item.label for item in labels], [row.prediction for row in rows]
    points = day_points(zoo)
    assert points["f1", ""].value == pytest.approx(f1_score(truth, answer, average="macro"))
    recalls = recall_score(truth, answer, average=None, labels=CLASSES)
    assert [points["class_recall", name].value for name in CLASSES] == pytest.approx(list(recalls))
    assert {points[name, ""].n for name in ("accuracy", "brier", "ece", "weighted_f1")} == {600}
    assert points["f1", ""].threshold is not None  # from the reference
    assert points["class_f1", "ant"].detail["method"] == "wilson"


def test_a_class_that_a_correction_takes_away_has_no_points_any_more(zoo: Model) -> None:
    tell_classes(zoo)
    rows = [msgspec.structs.replace(row, prediction="ant") for row in animals(8)[0]]
    log(zoo, rows)
    label(zoo, [LabelItem(id=row.id, label="ant", timestamp=None) for row in rows[1:]])
    label(zoo, [LabelItem(id=rows[0].id, label="bee", timestamp=None)])
    work(zoo)
    before = {feature for metric, feature in day_points(zoo) if metric == "class_recall"}

    label(zoo, [LabelItem(id=rows[0].id, label="ant", timestamp=None)])
    work(zoo)

    assert before == {"ant", "bee"}
    assert {feature for metric, feature in day_points(zoo) if metric == "class_recall"} == {"ant"}
    assert ("label_coverage_by_class", "ant") in day_points(zoo)


def test_an_external_multiclass_model_without_a_reference_is_judged_on_the_classes_seen(zoo: Model) -> None:
    rows, labels = animals(200)
    log(zoo, rows)
    label(zoo, labels)

    work(zoo)

    right = sum(row.prediction == item.label for row, item in zip(rows, labels, strict=True))
    assert day_points(zoo)["accuracy", ""].value == pytest.approx(right / 200)


def test_a_day_of_hours_that_differ_gets_an_interval_over_hours_and_so_does_a_week_over_days(
    model: Model,
) -> None:
    rows = [row for number in range(7) for row in rows_of_a_day(DAY + timedelta(days=number), 240)]
    labels = truths(rows)
    # Every third hour of the first day, and every second day, was answered by somebody else: all wrong.
    for number, row in enumerate(rows):
        day, hour = divmod(number // 10, 24)
        if (day == 0 and hour % 3 == 0) or day % 2:
            labels[number] = LabelItem(id=row.id, label="0" if row.prediction == "1" else "1", timestamp=None)
    log(model, rows)
    label(model, labels)

    work(model)

    accuracy = day_points(model)["accuracy", ""]
    assert (accuracy.detail["method"], accuracy.detail["blocks"]) == ("jackknife", 24)
    [week] = longer_points(
        model=model, metric="accuracy", start=DAY, end=DAY + timedelta(days=7), step="week"
    )
    assert (week.detail["method"], week.detail["blocks"]) == ("jackknife", 7)
    assert week.upper - week.lower > 0.3


def test_a_regression_that_declares_its_quantile_gets_the_loss_of_that_quantile(
    project: Project, home: object
) -> None:
    model = create_model(
        project=project, name="load", task="regression", actor="test",
        objectives={"label_lag_hours": 0, "quantile": 0.9},
    )  # fmt: skip
    rng = np.random.default_rng(0)
    truth, answer = rng.normal(10, 3, 300), rng.normal(13, 3, 300)
    log(
        model,
        [
            SentPrediction(
                id=f"l{number}",
                timestamp=rfc3339(DAY + timedelta(minutes=number)),
                version="1",
                features={"hour": 1.0},
                prediction=float(value),
            )
            for number, value in enumerate(answer)
        ],
    )
    label(model, [LabelItem(id=f"l{i}", label=str(value), timestamp=None) for i, value in enumerate(truth)])

    work(model)

    points = day_points(model)
    expected = mean_pinball_loss(truth, answer, alpha=0.9)
    assert points["pinball_loss", ""].value == pytest.approx(expected, rel=1e-5)
    assert {"mape", "median_absolute_error", "mae", "rmse", "r2", "bias"} <= {metric for metric, _ in points}


def test_the_reference_gives_the_new_metrics_their_limits(model: Model) -> None:
    reference = give_reference(model)

    assert {"ece", "average_precision"} <= reference.performance.keys()


def test_a_gap_between_groups_is_measured_where_both_have_enough_labels(model: Model) -> None:
    model.segment_features.create(feature="region")
    rows, few = rows_of_a_day(DAY, 600), rows_of_a_day(DAY + timedelta(days=1), 40)
    right = [row.features["region"] == "north" or number % 2 == 0 for number, row in enumerate(rows)]
    other = {"0": "1", "1": "0"}
    labels = [
        LabelItem(id=row.id, label=row.prediction if is_right else other[row.prediction], timestamp=None)
        for row, is_right in zip(rows, right, strict=True)
    ]
    log(model, [*rows, *few])
    label(model, [*labels, *truths(few)])

    work(model)

    gap = day_points(model)["accuracy_gap", "region"]
    south = [hit for hit, row in zip(right, rows, strict=True) if row.features["region"] == "south"]
    assert gap.value == pytest.approx(1 - sum(south) / len(south))
    assert (gap.detail["highest"], gap.detail["lowest"]) == ("north", "south")
    assert gap.lower > 0.4
    next_day = MetricPoint.objects.get(model=model, metric="accuracy_gap", span="day", start__gt=DAY)
    assert (next_day.value, next_day.status) in [(None, "insufficient"), (None, "unripe")]
