"""How late labels come and for which answers: measured, stored as points, read over HTTP and shown on the page."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from driftline.base.accounts.models import Project
from driftline.base.accounts.services import create_token
from inference.prediction_log.items import LabelItem
from inference.registry.models import Model
from inference.registry.services import update_model
from inference.signatures import Signature
from monitors.metrics.answers.labels import label_points
from monitors.metrics.answers.performance import Ripeness
from monitors.metrics.store.models import MetricPoint, PackedPoints
from monitors.stats.mergeable.outcomes import summarise_multiclass_outcomes
from monitors.stats.mergeable.window_summary import summarise_window
from tests.driftline.web.pages.visitors import viewer_of
from tests.markup import markup
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.django_db

HOUR_S = 3_600.0
END = DAY + timedelta(days=1)


@pytest.fixture
def model() -> Model:
    return make_model(Project.objects.create(slug="p", name="P"))


def label_ones(model: Model, n: int, *, lag: timedelta) -> None:
    """Label the rows of a day that were answered 1, and no other, `lag` after each."""
    rows = rows_of_a_day(DAY, n)
    log(model, rows)
    told = [row for row in rows if row.prediction == "1"]
    items = [
        LabelItem(row.id, "1", datetime.fromisoformat(row.timestamp).astimezone(UTC) + lag) for row in told
    ]
    label(model, items)
    work(model)


def points(model: Model, metric: str) -> dict[str, MetricPoint]:
    found = MetricPoint.objects.filter(
        model=model, metric=metric, span="day", start=DAY, role="champion", version="", segment=""
    )
    return {point.feature: point for point in found}


class TestPoints:
    @pytest.mark.slow
    def test_the_lag_is_that_from_prediction_to_label(self, model: Model) -> None:
        label_ones(model, 40, lag=timedelta(hours=3))

        lags = {metric: points(model, metric)[""] for metric in ("label_lag_p50", "label_lag_p95")}

        assert [point.value for point in lags.values()] == pytest.approx([3 * HOUR_S] * 2, rel=0.01)
        assert lags["label_lag_p50"].n == sum(row.prediction == "1" for row in rows_of_a_day(DAY, 40))

    def test_an_answer_whose_labels_never_come_has_no_coverage(self, model: Model) -> None:
        label_ones(model, 40, lag=timedelta(hours=3))

        coverage = points(model, "label_coverage_by_class")

        answers = [row.prediction for row in rows_of_a_day(DAY, 40)]
        assert {name: (point.value, point.n) for name, point in coverage.items()} == {
            "1": (1.0, answers.count("1")),
            "0": (0.0, answers.count("0")),
        }
        assert coverage["0"].lower == 0.0
        assert 0 < (coverage["0"].upper or 0) < 0.3

    @pytest.mark.slow
    def test_a_lag_beyond_the_objective_is_a_warning(self, model: Model) -> None:
        update_model(model=model, actor="test", objectives={"label_lag_hours": 2})
        label_ones(model, 2_000, lag=timedelta(hours=3))
        log(model, rows_of_a_day(END + timedelta(days=1), 10))  # event time goes on
        PackedPoints.objects.all().delete()
        label(model, [LabelItem(rows_of_a_day(DAY, 1)[0].id, "0", DAY)])
        work(model)

        [late] = points(model, "label_lag_p95").values()
        [median] = points(model, "label_lag_p50").values()

        assert (late.status, late.threshold) == ("warning", 2 * HOUR_S)
        assert (median.status, median.threshold) == ("ok", None)

    @pytest.mark.slow
    def test_they_are_unripe_until_labels_have_had_their_time(self, model: Model) -> None:
        update_model(model=model, actor="test", objectives={"label_lag_hours": 48})
        label_ones(model, 40, lag=timedelta(hours=3))

        found = points(model, "label_lag_p95") | points(model, "label_coverage_by_class")

        assert {point.status for point in found.values()} == {"unripe"}


def test_each_class_of_many_has_its_own_coverage() -> None:
    answers, labels = ["a", "a", "b", "c"], ["a", "c", "b"]
    summary = summarise_window(
        rows=4,
        features={},
        centres={},
        prediction=answers,
        outcome=summarise_multiclass_outcomes(["a", "b", "c"], labels, answers[:3], None),
        labelled=3,
    )
    signature = Signature([], [], [], None, None, ["a", "b", "c"], None, {}, "multiclass")

    found = label_points(
        summary, signature, end=END, ripeness=Ripeness(1, 0.0, timedelta(0), END), lag_objective_s=None
    )

    assert [(point.feature, point.value, point.n) for point in found] == [
        ("a", 1.0, 2),
        ("b", 1.0, 1),
        ("c", 0.0, 1),
    ]


def test_a_model_whose_labels_never_came_has_no_lag(model: Model) -> None:
    log(model, rows_of_a_day(DAY, 10))
    work(model)

    assert not points(model, "label_lag_p50")
    assert {point.value for point in points(model, "label_coverage_by_class").values()} == {0.0}


@pytest.mark.slow
def test_they_are_read_over_http_by_class_and_shown_on_the_page(model: Model, settings: Any) -> None:
    label_ones(model, 40, lag=timedelta(hours=3))
    _, token = create_token(project=model.project, name="t", scopes=["read"], actor="test")
    client, settings.MIDDLEWARE = Client(), [one for one in settings.MIDDLEWARE if "whitenoise" not in one]
    headers = {"Authorization": f"Bearer {token}"}
    period = "from=2026-01-05T00:00:00Z&to=2026-01-06T00:00:00Z"

    lag = client.get(f"/api/v1/models/{model.name}/metrics?metric=label_lag_p95&{period}", headers=headers)
    ones = client.get(
        f"/api/v1/models/{model.name}/metrics?metric=label_coverage_by_class&feature=1&{period}",
        headers=headers,
    )
    page = markup(
        viewer_of(model.project).get(f"/models/{model.name}/performance?from=2026-01-05&to=2026-01-05")
    )

    assert [item["value"] for item in lag.json()["items"]] == [pytest.approx(3 * HOUR_S, rel=0.01)]
    assert [(item["feature"], item["value"]) for item in ones.json()["items"]] == [("1", 1.0)]
    assert "labels came within 3 hours" in page
    assert "Label coverage by predicted class" in page
