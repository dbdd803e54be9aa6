"""Labels that a file brings without times count as known at the event: they have no lag, and nothing waits for more."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from inference.prediction_log.imports import services
from inference.prediction_log.imports.services import FileSender, import_upload
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.metrics.context import DEFAULT_LAG, label_lag
from monitors.metrics.store.models import MetricPoint
from tests.worlds.approvals import DAY, log, rows_of_a_day, truths, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

ROWS = 240


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


def bring(model: Model, kind: str, lines: list[str]) -> None:
    job, _ = import_upload(
        model=model, kind=kind, stream=BytesIO("\n".join(lines).encode()), name="file.csv", version="",
        sender=FileSender("test"),
    )  # fmt: skip
    job = services.run(job.pk, stop=lambda _: False)
    assert (job.state, job.rejected) == ("done", 0)


def predictions_with_labels() -> list[str]:
    rows = rows_of_a_day(DAY, ROWS)
    return ["id,timestamp,prediction,probability,income,label"] + [
        f"{row.id},{row.timestamp},{row.prediction},{row.probabilities},{row.features['income']},{label.label}"
        for row, label in zip(rows, truths(rows), strict=True)
    ]


def labels_alone() -> list[str]:
    return ["id,label", *(f"{label.id},{label.label}" for label in truths(rows_of_a_day(DAY, ROWS)))]


def newest_points(model: Model) -> dict[str, MetricPoint]:
    found = MetricPoint.objects.filter(
        model=model, span="day", start=DAY, role="champion", version="", segment="", feature=""
    )
    return {point.metric: point for point in found}


@pytest.fixture
def learning_model(model: Model) -> Model:
    """A model that was never given a label lag: it learns how late labels come."""
    update_model(model=model, actor="test", objectives={})
    return model


def test_labels_beside_their_predictions_have_no_lag_and_are_judged_at_once(learning_model: Model) -> None:
    bring(learning_model, "predictions", predictions_with_labels())
    log(learning_model, rows_of_a_day(DAY + timedelta(days=1), 1))  # the day has just ended
    work(learning_model)

    points = newest_points(learning_model)

    assert not points.keys() & {"label_lag_p50", "label_lag_p95"}
    assert label_lag(learning_model) == DEFAULT_LAG
    assert points["label_coverage"].status == "ok"
    assert points["roc_auc"].status != "unripe"


@pytest.mark.parametrize("come_first", ["labels", "predictions"])
def test_a_file_of_labels_has_no_lag_whichever_comes_first(learning_model: Model, come_first: str) -> None:
    steps = [
        lambda: log(learning_model, rows_of_a_day(DAY, ROWS)),
        lambda: bring(learning_model, "labels", labels_alone()),
    ]
    for step in reversed(steps) if come_first == "labels" else steps:
        step()
    work(learning_model)

    points = newest_points(learning_model)

    assert points["label_coverage"].value == 1.0
    assert not points.keys() & {"label_lag_p50", "label_lag_p95"}


def test_no_rule_on_late_labels_fires_for_an_import(model: Model) -> None:
    update_model(model=model, actor="test", objectives={"label_lag_hours": 1})
    bring(model, "predictions", predictions_with_labels())
    work(model)

    assert not MetricPoint.objects.filter(model=model, metric__startswith="label_lag").exists()
