"""Summaries and points go when their model keeps them no longer, and never before their rows."""

from datetime import datetime, timedelta

import pytest
from django.db import connection

from driftline.accounts.models import Project
from driftline.common.errors import Problem
from driftline.invariants import check_all
from inference.prediction_log.ingest import arrival
from inference.prediction_log.models import RequestCount, RequestWait
from inference.prediction_log.queries.selectors import oldest_event
from inference.prediction_log.tasks import expire as expire_rows
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.metrics.models import MetricPoint
from monitors.metrics.tasks import expire
from monitors.summaries.models import Summary
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

pytestmark = pytest.mark.django_db

LAST = DAY + timedelta(days=40)


@pytest.fixture(autouse=True)
def _everything_arrived_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")


@pytest.fixture
def model() -> Model:
    model = make_model(Project.objects.create(slug="p", name="P"))
    for day in (DAY, LAST):
        log(model, rows_of_a_day(day, 24))
    grow_old()
    pack_all()
    work(model)
    connection.check_constraints()  # as a commit does
    return model


def keep(model: Model, *, rows: int, summaries: int) -> None:
    update_model(model=model, actor="test", retention_days=rows, summary_retention_days=summaries)


def days_of(kind: type[Summary] | type[MetricPoint]) -> list[datetime]:
    return sorted(set(kind.objects.filter(span="day").values_list("start", flat=True)))


def test_they_stay_when_their_rows_have_gone(model: Model) -> None:
    keep(model, rows=10, summaries=0)

    expire_rows()
    expire()

    assert oldest_event(model) == LAST
    assert days_of(Summary) == days_of(MetricPoint) == [DAY, LAST]


def test_they_go_after_their_own_days(model: Model) -> None:
    keep(model, rows=10, summaries=20)

    expire_rows()
    expire()

    assert days_of(Summary) == days_of(MetricPoint) == [LAST]
    assert not Summary.objects.filter(start__lt=LAST).exists()
    assert not [result for result in check_all() if not result.holds]


def test_counts_of_requests_go_with_them(model: Model) -> None:
    for day in (DAY, LAST):
        of_hour = {"model": model, "hour": day, "version": "1", "role": "champion"}
        RequestCount.objects.create(**of_hour, outcome="answered", requests=3)
        RequestWait.objects.create(**of_hour, counts=[3])
    keep(model, rows=10, summaries=20)

    expire_rows()
    expire()

    assert [count.hour for count in RequestCount.objects.all()] == [LAST]
    assert [wait.hour for wait in RequestWait.objects.all()] == [LAST]


def test_they_wait_for_rows_that_are_kept_longer(model: Model) -> None:
    keep(model, rows=0, summaries=20)

    expire_rows()
    expire()

    assert days_of(Summary) == [DAY, LAST]


def test_a_number_of_days_that_is_none_is_refused(model: Model) -> None:
    with pytest.raises(Problem) as refused:
        update_model(model=model, actor="test", summary_retention_days=-1)

    assert refused.value.errors[0].pointer == "/summary_retention_days"
