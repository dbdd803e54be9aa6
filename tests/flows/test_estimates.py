"""Performance before labels come, from the log to points, and what becomes of estimates that do not come true."""

from datetime import datetime, timedelta
from io import BytesIO

import msgspec
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from driftline.base.accounts.models import Project
from driftline.base.periods import rfc3339
from inference.prediction_log.items import LabelItem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.metrics.store.models import MetricPoint
from monitors.rules.models import Transition
from monitors.rules.services import create_rule
from tests.worlds.animals import animals, tell_classes
from tests.worlds.approvals import DAY, give_reference, label, log, rows_of_a_day, truths, work

pytestmark = pytest.mark.slow

NAMES = {"accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "brier"}


def points(model: Model, metric: str) -> dict[datetime, MetricPoint]:
    found = MetricPoint.objects.filter(model=model, metric=metric, span="day", role="champion", version="")
    return {point.start: point for point in found.filter(segment="")}


def point(model: Model, metric: str) -> MetricPoint:
    return points(model, metric)[DAY]


def tell_the_contrary(rows: list[SentPrediction]) -> list[LabelItem]:
    """Labels of a world whose meaning has turned: what was likely does not happen."""
    return [LabelItem(id=row.id, label="0" if row.prediction == "1" else "1", timestamp=None) for row in rows]


def test_performance_is_estimated_before_any_label_has_come_and_the_labels_agree(model: Model) -> None:
    give_reference(model)
    rows = rows_of_a_day(DAY, 600, shift=1.0)
    log(model, rows)
    work(model)

    estimates = {name: point(model, f"estimated_{name}") for name in NAMES}
    assert not points(model, "accuracy")
    assert {estimate.n for estimate in estimates.values()} == {600}
    assert all(estimate.detail["method"] == "simulated" for estimate in estimates.values())

    # Labels in the middle of what may happen: seven 95 % intervals do not hold every draw.
    label(model, truths(rows, seed=8))
    work(model)

    for name, estimate in estimates.items():
        assert estimate.lower <= point(model, name).value <= estimate.upper, name


def test_an_estimate_is_measured_again_to_the_same_interval(model: Model) -> None:
    give_reference(model)
    rows = rows_of_a_day(DAY, 300)
    log(model, rows)
    work(model)
    first = point(model, "estimated_roc_auc")

    label(model, truths(rows))
    work(model)

    again = point(model, "estimated_roc_auc")
    assert (first.value, first.lower, first.upper, first.revision) == (
        again.value,
        again.lower,
        again.upper,
        again.revision,
    )


def test_an_estimate_does_not_outlive_the_rows_that_it_was_made_of(model: Model) -> None:
    give_reference(model)
    log(model, rows_of_a_day(DAY, 100))
    work(model)
    assert point(model, "estimated_accuracy").n == 100

    others = rows_of_a_day(DAY, 300, seed=3)  # a new version answers most of the day, and has no reference
    log(model, [msgspec.structs.replace(row, id=f"new-{row.id}", version="2") for row in others])
    work(model)

    assert point(model, "count").value == 400
    assert not points(model, "estimated_accuracy")


def test_where_days_of_the_reference_differ_the_interval_allows_for_it(model: Model) -> None:
    rows = [row for back in range(1, 17) for row in rows_of_a_day(DAY - timedelta(days=back), 60)]
    lines = ["income,region,label,prediction,probability,timestamp"]
    for row in rows:
        is_odd_day = int(row.timestamp[8:10]) % 2  # on every other day the opposite happens
        answer = "1" if row.probabilities > 0.5 else "0"
        told = answer if is_odd_day or row.features["income"] > 1 else "10"[int(answer)]
        lines.append(f"{row.features['income']},north,{told},{answer},{row.probabilities},{row.timestamp}")
    stream = BytesIO("\n".join(lines).encode())
    store_reference(model=model, version="1", stream=stream, content_type="text/csv", actor="test")
    build_reference(Reference.objects.get(model=model).pk)
    log(model, rows_of_a_day(DAY, 600))

    work(model)

    estimate = point(model, "estimated_accuracy")
    assert (estimate.detail["method"], estimate.detail["days"]) == ("reference_days", 16)
    assert estimate.upper - estimate.lower > 0.5


def test_few_rows_are_insufficient_and_a_model_without_a_reference_has_no_estimate(model: Model) -> None:
    log(model, rows_of_a_day(DAY, 30))
    work(model)
    assert not points(model, "estimated_accuracy")

    give_reference(model)
    work(model)

    assert point(model, "estimated_accuracy").status == "insufficient"


def test_a_reference_of_one_class_says_why_there_is_no_estimate(model: Model) -> None:
    lines = ["income,label,prediction,probability"] + [f"{n}.5,1,1,0.{n % 9 + 1}" for n in range(300)]
    stream = BytesIO("\n".join(lines).encode())
    store_reference(model=model, version="1", stream=stream, content_type="text/csv", actor="test")
    build_reference(Reference.objects.get(model=model).pk)
    rows = [msgspec.structs.replace(row, features={"income": 1.0}) for row in rows_of_a_day(DAY, 200)]
    log(model, rows)

    work(model)

    estimate = point(model, "estimated_accuracy")
    assert (estimate.value, estimate.status) == (None, "no_data")
    assert "labels of the reference are the same" in estimate.detail["why"]


def test_a_rule_over_an_estimate_opens_without_labels_and_falls_silent_when_estimates_do_not_come_true(
    model: Model,
) -> None:
    give_reference(model)
    rule = create_rule(
        project=model.project, model=model, actor="test", name="guess", metric="estimated_accuracy",
        operator="below", threshold=0.95, for_windows=1, min_rows=100, notify_within=timedelta(days=3650),
    )  # fmt: skip
    days = [DAY + timedelta(days=number) for number in range(7)]
    rows = {day: rows_of_a_day(day, 200) for day in days}
    log(model, [row for day in days[:6] for row in rows[day]])
    work(model)
    assert Transition.objects.filter(rule=rule, kind="opened").count() == 1

    label(model, [item for day in days[:5] for item in tell_the_contrary(rows[day])])
    log(model, rows[days[6]])
    work(model)

    estimates = points(model, "estimated_accuracy")
    # Five days proved it wrong: the sixth, measured long before the labels came, has lost its say as well.
    assert [estimates[day].status for day in days[4:]] == ["warning", "unreliable", "unreliable"] or [
        estimates[day].status for day in days[4:]
    ] == ["ok", "unreliable", "unreliable"]
    assert estimates[days[6]].detail["judged"] == 5
    assert estimates[days[6]].detail["covered"] == 0
    assert estimates[days[6]].value is not None


def test_estimates_that_came_true_stay_reliable(model: Model) -> None:
    give_reference(model)
    days = [DAY + timedelta(days=number) for number in range(7)]
    for day in days:
        rows = rows_of_a_day(day, 150)
        log(model, rows)
        label(model, truths(rows, seed=day.day))
    work(model)

    newest = points(model, "estimated_roc_auc")[days[6]]

    assert newest.status in ("ok", "warning")
    assert newest.detail["judged"] == 6
    assert newest.detail["covered"] >= 4


def test_of_several_classes_the_accuracy_is_estimated(project: Project) -> None:
    zoo = create_model(
        project=project, name="zoo", task="multiclass", actor="test", objectives={"label_lag_hours": 0}
    )
    tell_classes(zoo)
    rows, labels = animals(600)
    log(zoo, rows)
    work(zoo)

    estimate = point(zoo, "estimated_accuracy")

    right = np.mean([row.prediction == item.label for row, item in zip(rows, labels, strict=True)])
    assert estimate.lower <= right <= estimate.upper


def test_a_regressions_error_is_estimated_from_the_reference_by_its_prediction(project: Project) -> None:
    model = create_model(
        project=project, name="prices", task="regression", actor="test", objectives={"label_lag_hours": 0}
    )
    rng = np.random.default_rng(0)

    def houses(n: int, least: float) -> tuple[np.ndarray, np.ndarray]:
        answer = least + rng.gamma(2.0, 1.0, n)
        return answer + rng.normal(size=n) * 0.2 * answer, answer

    truth, answer = houses(2_000, 0.0)
    lines = ["rooms,label,prediction"] + [f"3,{y},{p}" for y, p in zip(truth, answer, strict=True)]
    stream = BytesIO("\n".join(lines).encode())
    store_reference(model=model, version="1", stream=stream, content_type="text/csv", actor="test")
    build_reference(Reference.objects.get(model=model).pk)
    usual = float(np.abs(truth - answer).mean())
    truth, answer = houses(400, 1.0)
    log(
        model,
        [
            SentPrediction(
                id=f"h{number}",
                timestamp=rfc3339(DAY + timedelta(minutes=number)),
                version="1",
                features={"rooms": 3.0},
                prediction=float(value),
            )
            for number, value in enumerate(answer)
        ],
    )

    work(model)

    estimate = point(model, "estimated_mae")
    assert estimate.lower <= np.abs(truth - answer).mean() <= estimate.upper
    assert estimate.value > 1.2 * usual
    assert point(model, "estimated_rmse").value > estimate.value


def test_the_estimate_orders_windows_as_the_realised_metric_does(model: Model) -> None:
    give_reference(model)
    easy, hard = DAY, DAY + timedelta(days=1)
    surer = rows_of_a_day(easy, 400, shift=2.5)
    closer = rows_of_a_day(hard, 400, shift=0.0)
    log(model, [*surer, *closer])

    work(model)

    estimates = points(model, "estimated_accuracy")
    labels = truths([*surer, *closer])
    right = [row.prediction == item.label for row, item in zip([*surer, *closer], labels, strict=True)]
    assert (estimates[easy].value > estimates[hard].value) == (sum(right[:400]) > sum(right[400:]))
    auc = points(model, "estimated_roc_auc")[hard]
    y = [int(item.label) for item in labels[400:]]
    assert auc.value == pytest.approx(roc_auc_score(y, [row.probabilities for row in closer]), abs=0.06)
