"""The performance page: what it says with labels, before them, and of every task."""

import html
import re
from datetime import timedelta
from io import BytesIO

import pytest
from django.test import Client

from driftline.base.periods import rfc3339
from inference.prediction_log.items import LabelItem
from inference.prediction_log.rows.sent_items import SentPrediction
from inference.registry.files.datasets import store_reference
from inference.registry.models import Model
from inference.registry.services import create_model
from monitors.definitions.models import Reference
from monitors.definitions.services import build_reference
from monitors.metrics.store.models import ChangePoint, MetricPoint
from tests.markup import markup
from tests.worlds.approvals import DAY, give_reference, label, log, rows_of_a_day, truths, work


def text_of(client: Client, model: Model) -> str:
    """The page's words, without tags."""
    page = markup(client.get(f"/models/{model.name}/performance"))
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


@pytest.mark.slow
def test_before_labels_come_the_page_says_what_is_estimated_and_from_what(
    client: Client, model: Model
) -> None:
    give_reference(model)
    log(model, rows_of_a_day(DAY, 300))
    work(model)

    said = text_of(client, model)

    value = MetricPoint.objects.get(model=model, metric="estimated_roc_auc", span="day", version="").value
    assert f"No labels in this range. ROC AUC: estimated {value:.3f} on 5 Jan 2026." in said
    assert "cannot tell when labels change their meaning" in said
    assert "no labels yet" in said


@pytest.mark.slow
def test_an_estimate_that_did_not_come_true_is_said_to_be_one(client: Client, model: Model) -> None:
    give_reference(model)
    days = [rows_of_a_day(DAY + timedelta(days=number), 150) for number in range(6)]
    log(model, [row for rows in days for row in rows])
    wrong = [
        LabelItem(id=row.id, label="0" if row.prediction == "1" else "1", timestamp=None)
        for rows in days[:5]
        for row in rows
    ]
    label(model, wrong)
    work(model)

    said = text_of(client, model)

    assert "but such estimates were unreliable" in said
    assert "0 of 5" in said
    assert "Unreliable" in said


@pytest.mark.slow
def test_every_metric_of_a_classifier_is_there_with_its_interval_and_method(
    client: Client, model: Model
) -> None:
    rows = rows_of_a_day(DAY, 300)
    log(model, [*rows, *rows_of_a_day(DAY + timedelta(days=1), 1)])  # the day is over
    label(model, truths(rows))
    work(model)

    said = text_of(client, model)

    for metric in ("Average precision", "Expected calibration error", "Brier score", "Recall"):
        assert metric in said
    assert "jackknife over 24 hours" in said or "wilson" in said
    assert "On average the probability of class 1 is off by" in said
    assert "Estimated without labels" not in said  # there is no reference


@pytest.mark.slow
def test_zero_labels_are_told_beside_the_percentage_error(client: Client, model: Model) -> None:
    load = create_model(
        project=model.project, name="load", task="regression", actor="test", objectives={"label_lag_hours": 0}
    )
    rows = [
        SentPrediction(
            id=f"l{number}",
            timestamp=rfc3339(DAY + timedelta(minutes=number + 1_380 * (number // 139))),
            version="1",
            features={"hour": 1.0},
            prediction=float(number % 7),
        )
        for number in range(140)  # the last one after the day's end
    ]
    log(load, rows)
    label(load, [LabelItem(id=row.id, label=str(float(i % 7)), timestamp=None) for i, row in enumerate(rows)])
    work(load)

    said = text_of(client, load)

    assert "Mean absolute percentage error" in said
    assert "20 zero labels left out" in said


@pytest.mark.slow
def test_the_errors_of_a_regression_lie_over_those_of_its_reference(client: Client, model: Model) -> None:
    load = create_model(
        project=model.project, name="load", task="regression", actor="test", objectives={"label_lag_hours": 0}
    )
    known = "hour,prediction,label\n" + "".join(f"1,{i % 7},{i % 7 + 1}\n" for i in range(200))
    store_reference(
        model=load, version="1", stream=BytesIO(known.encode()), content_type="text/csv", actor="test"
    )
    build_reference(Reference.objects.get(model=load).pk)
    rows = [
        SentPrediction(
            id=f"l{number}", timestamp=rfc3339(DAY + timedelta(minutes=number)), version="1",
            features={"hour": 1.0}, prediction=float(number % 7),
        )
        for number in range(140)
    ]  # fmt: skip
    log(load, rows)
    label(
        load,
        [LabelItem(id=row.id, label=str(float(i % 7 + 3)), timestamp=None) for i, row in enumerate(rows)],
    )
    work(load)

    assert "Absolute error: median 1 in the reference, 3 now, on 140 rows." in text_of(client, load)


@pytest.mark.slow
def test_a_change_of_the_error_is_marked_on_its_day_and_told_as_a_sentence(
    client: Client, model: Model
) -> None:
    rows = rows_of_a_day(DAY, 20)
    log(model, rows)
    label(model, truths(rows))
    work(model)
    ChangePoint.objects.create(
        model=model, role="champion", version="1", span="day", detector="adwin", error="wrong_share",
        at=DAY, noticed_at=DAY + timedelta(days=4), before=0.091, after=0.153, n_before=31, n_after=4,
    )  # fmt: skip

    page = markup(client.get(f"/models/{model.name}/performance"))

    assert 'class="mark change"' in page
    assert (
        "The share of wrong answers of version 1 rose from 9.1% to 15.3%, as ADWIN noticed "
        "by 2026-01-09 00:00 UTC from 31 days before and 4 after."
    ) in text_of(client, model)
