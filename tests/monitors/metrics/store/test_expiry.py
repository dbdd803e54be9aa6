"""Summaries and points go when their model keeps them no longer, and never before their rows."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.operations.invariants import check_all
from inference.prediction_log.ingest import arrival
from inference.prediction_log.models import RequestCount, RequestWait
from inference.prediction_log.queries.selectors import oldest_event
from inference.prediction_log.tasks import expire as expire_rows
from inference.registry.models import Model
from inference.registry.services import update_model
from monitors.metrics.store.expiry import NULL_DRAWS_KEPT
from monitors.metrics.store.models import JointNullDraws, MetricPoint, NullDraws, PointLimits
from monitors.metrics.tasks import expire
from monitors.summaries.models import Summary
from tests.inference.prediction_log.storage.aging import grow_old, pack_all
from tests.worlds.approvals import DAY, give_reference, log, make_model, rows_of_a_day, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

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


def days_of_summaries() -> list[datetime]:
    return sorted(set(Summary.objects.filter(span="day").values_list("start", flat=True)))


def days_of_points() -> list[datetime]:
    """List the days that had rows: those between have points that say they had none."""
    points = MetricPoint.objects.filter(span="day", metric="count", value__gt=0)
    return sorted(set(points.values_list("start", flat=True)))


def test_they_stay_when_their_rows_have_gone(model: Model) -> None:
    keep(model, rows=10, summaries=0)

    expire_rows()
    expire()

    assert oldest_event(model) == LAST
    assert days_of_summaries() == days_of_points() == [DAY, LAST]


def test_they_go_after_their_own_days(model: Model) -> None:
    keep(model, rows=10, summaries=20)

    expire_rows()
    expire()

    assert days_of_summaries() == days_of_points() == [LAST]
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

    assert days_of_summaries() == [DAY, LAST]


def test_a_number_of_days_that_is_none_is_refused(model: Model) -> None:
    with pytest.raises(Problem) as refused:
        update_model(model=model, actor="test", summary_retention_days=-1)

    assert refused.value.errors[0].pointer == "/summary_retention_days"


def test_draws_of_long_ago_go_and_newer_ones_stay(model: Model) -> None:
    reference = give_reference(model)
    moment = timezone.now()
    for name, age in (
        ("old", NULL_DRAWS_KEPT + timedelta(days=1)),
        ("new", NULL_DRAWS_KEPT - timedelta(days=1)),
    ):
        of_any = {"reference": reference, "digest": name, "size": 100, "made_at": moment - age}
        JointNullDraws.objects.create(**of_any, draws={"domain_auc": [0.5]}, why="")
        NullDraws.objects.create(**of_any, column="income", days=1, payload=b"")

    expire()

    assert [row.digest for row in JointNullDraws.objects.all()] == ["new"]
    assert [row.digest for row in NullDraws.objects.filter(digest__in=["old", "new"])] == ["new"]


def test_limits_that_judge_no_window_go_also_where_points_stay_for_ever(model: Model) -> None:
    PointLimits.objects.create(model=model, digest=b"unused", thresholds=[0.1], whys=["Chance alone."])
    keep(model, rows=0, summaries=0)

    expire()

    assert not PointLimits.objects.filter(digest=b"unused").exists()
    assert days_of_points() == [DAY, LAST]
