"""A file that was imported to its end holds its last day as far as it will come: rules judge that day at once."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from driftline.base.clock import now
from inference.prediction_log.imports import services
from inference.prediction_log.imports.models import Import
from inference.prediction_log.imports.services import FileSender, import_upload
from inference.registry.models import Model
from monitors.metrics.rows.ended_days import all_days_to_read, read_days
from monitors.metrics.store.models import MetricPoint
from monitors.rules.models import Transition
from monitors.rules.services import create_rule
from tests.worlds.approvals import DAY, give_reference, log, rows_of_a_day, truths, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

NOON = DAY + timedelta(hours=12)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> Path:
    settings.HOME = tmp_path
    return tmp_path


@pytest.fixture
def judged_model(model: Model) -> Model:
    """A model with a rule that any day breaches."""
    create_rule(
        project=model.project, model=model, actor="test", name="ROC AUC below 1", metric="roc_auc",
        operator="below", threshold=1.0, notify_within=timedelta(days=3_650),
    )  # fmt: skip
    return model


def morning_with_labels() -> list[str]:
    """A file that ends in the middle of a day."""
    rows = rows_of_a_day(DAY, 600)[:300]
    return ["id,timestamp,prediction,probability,income,label"] + [
        f"{row.id},{row.timestamp},{row.prediction},{row.probabilities},{row.features['income']},{label.label}"
        for row, label in zip(rows, truths(rows), strict=True)
    ]


def upload(model: Model) -> Import:
    file = BytesIO("\n".join(morning_with_labels()).encode())
    job, _ = import_upload(
        model=model, kind="predictions", stream=file, name="file.csv", version="", sender=FileSender("test")
    )
    return job


def test_its_last_day_is_judged_although_it_ends_at_noon(judged_model: Model) -> None:
    job = services.run(upload(judged_model).pk, stop=lambda _: False)
    work(judged_model)

    assert job.state == "done"
    [opened] = Transition.objects.filter(model=judged_model)
    assert (opened.kind, opened.window_end) == ("opened", DAY + timedelta(days=1))


def test_its_last_day_is_compared_in_all_columns(judged_model: Model) -> None:
    give_reference(judged_model)
    services.run(upload(judged_model).pk, stop=lambda _: False)
    work(judged_model)

    assert all_days_to_read(now()).filter(model=judged_model).exists()
    read_days(judged_model.pk)
    assert MetricPoint.objects.filter(model=judged_model, metric="domain_auc", start=DAY).exists()


def test_the_hours_after_its_end_are_no_silence(judged_model: Model) -> None:
    services.run(upload(judged_model).pk, stop=lambda _: False)
    work(judged_model)

    assert not MetricPoint.objects.filter(model=judged_model, span="hour", start__gte=NOON).exists()


def test_a_day_that_another_file_may_go_on_with_waits_for_it(judged_model: Model) -> None:
    services.run(upload(judged_model).pk, stop=lambda _: False)
    Import.objects.create(
        model=judged_model, kind="predictions", file_name="rest.csv", path="rest.csv", is_upload=False,
        sha256="0" * 64, size=1, format="csv", layout={}, total=1, created_by="test",
    )  # fmt: skip
    work(judged_model)

    assert not Transition.objects.filter(model=judged_model).exists()


def test_a_day_that_was_logged_row_by_row_waits_for_its_end(judged_model: Model) -> None:
    log(judged_model, rows_of_a_day(DAY, 600)[:300])
    work(judged_model)

    assert not Transition.objects.filter(model=judged_model).exists()
