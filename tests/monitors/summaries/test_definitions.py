"""What people defined over a model's rows is read once a pass, however many days and parts the rows are in."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from driftline.base.accounts.models import Project
from inference.prediction_log.models import TouchedPeriod
from inference.registry.models import Model
from monitors.definitions.custom_metrics.services import define_metric
from monitors.definitions.models import CustomMetric, Segment
from monitors.metrics.store.models import MetricPoint
from monitors.summaries.services import apply_label_changes, summarise
from tests.driftline.web.pages.queries import reads_of
from tests.worlds.approvals import DAY, label, log, make_model, rows_of_a_day, truths, work

DAYS = 3


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Any) -> None:
    settings.HOME = tmp_path


@pytest.fixture
def model(db: None) -> Model:
    """Days of rows without labels, under one custom metric."""
    model = make_model(Project.objects.create(slug="bank", name="Bank"))
    for number in range(DAYS):
        log(model, day(number))
    define_metric(model=model, name="cost", expression="cost(fp=5, fn=100)", actor="test")
    work(model)
    return model


def day(number: int) -> list[Any]:
    return rows_of_a_day(DAY + timedelta(days=number), 120)


@pytest.mark.slow
def test_late_labels_of_several_days_are_counted(model: Model) -> None:
    for number in range(DAYS):
        label(model, truths(day(number)))

    with CaptureQueriesContext(connection) as asked:
        assert apply_label_changes(model.pk)

    assert len(reads_of(CustomMetric, asked)) == len(reads_of(Segment, asked)) == 1
    work(model)
    costs = MetricPoint.objects.filter(model=model, feature="cost", span="day", segment="", version="")
    assert costs.exclude(value=None).count() == DAYS


@pytest.mark.slow
def test_several_days_are_summarised_again(model: Model) -> None:
    hours = [DAY + timedelta(days=number, hours=9) for number in range(DAYS)]
    version = model.versions.get()
    TouchedPeriod.objects.bulk_create(
        TouchedPeriod(model=model, version=version, role="champion", hour=hour, rebuild=True)
        for hour in hours
    )

    with CaptureQueriesContext(connection) as asked:
        assert summarise(model.pk) == DAYS

    assert len(reads_of(CustomMetric, asked)) == len(reads_of(Segment, asked)) == 1
