"""The tables of models: what is read for a line of each."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from driftline.base.accounts.models import Project
from inference.registry.models import Model
from monitors.metrics.store.models import MetricPoint
from tests.driftline.web.pages.queries import reads_of
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day

pytestmark = pytest.mark.slow


def test_days_of_years_are_not_read_because_one_model_is_judged_by_the_month(
    client: Client, project: Project, model: Model
) -> None:
    log(model, rows_of_a_day(DAY, 2))
    monthly = make_model(project, "monthly")
    log(monthly, rows_of_a_day(DAY, 2))
    monthly.monitors.filter(kind="performance").update(span="month")

    with CaptureQueriesContext(connection) as asked:
        client.get("/models/")

    [series] = [sql for sql in reads_of(MetricPoint, asked) if "'latency_p95'" in sql]
    of_days = series.split("'month'")[0]
    assert f"{DAY - timedelta(days=30):%Y-%m-%d}" in of_days
    assert f"{DAY - 30 * timedelta(days=31):%Y-%m-%d}" not in of_days
