"""Fewer predictions than usual, and none at all: noticed though nothing arrives that would say so."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from msgspec.structs import replace

from driftline.accounts.models import Project
from driftline.common.errors import Problem
from driftline.common.periods import rfc3339
from inference.prediction_log.queries import event_clock
from inference.registry.models import Model
from monitors.metrics import context, volume
from monitors.metrics.models import MetricPoint
from monitors.metrics.volume import measure_ended, models_with_ended_windows
from monitors.rules.defaults import add_default_rules
from monitors.rules.models import Transition
from monitors.rules.services import create_rule
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

HOUR = timedelta(hours=1)
ROWS = 30


def send_hours(model: Model, *hours: datetime, rows: int = ROWS) -> None:
    for hour in hours:
        made = [
            replace(row, id=f"{hour:%m%d%H}-{number}", timestamp=rfc3339(hour + number * HOUR / (2 * rows)))
            for number, row in enumerate(rows_of_a_day(hour, rows))
        ]
        log(model, made)


def let_pass(model: Model, moment: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring event time to a moment, as the wall clock does while nothing arrives, and let the tick come."""
    for module in (event_clock, context, volume):
        monkeypatch.setattr(module, "event_now", lambda **_: moment, raising=True)
    monkeypatch.setattr("monitors.rules.services.event_now", lambda **_: moment)
    measure_ended(model, moment)
    work(model)


def points(model: Model, metric: str, span: str = "hour") -> dict[int, float | None]:
    """Give a metric's values by the hours since `DAY`."""
    found = MetricPoint.objects.filter(model=model, metric=metric, span=span, role="champion", version="")
    return {round((start - DAY) / HOUR): value for start, value in found.values_list("start", "value")}


@pytest.fixture
def busy(model: Model) -> Model:
    """A model that was asked in the same three hours of four days."""
    send_hours(model, *(DAY + timedelta(days=day, hours=hour) for day in range(4) for hour in (9, 10, 11)))
    work(model)
    return model


def test_a_model_that_falls_silent_is_noticed_after_three_hours(
    busy: Model, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_default_rules(project=project, model=busy, actor="test")
    let_pass(busy, DAY + timedelta(days=4, hours=8), monkeypatch)

    let_pass(busy, DAY + timedelta(days=4, hours=11, minutes=59), monkeypatch)
    assert not Transition.objects.filter(rule__metric="volume_ratio").exists()
    let_pass(busy, DAY + timedelta(days=4, hours=12), monkeypatch)

    [opened] = Transition.objects.filter(rule__metric="volume_ratio")
    assert (opened.kind, opened.value, opened.n) == ("opened", 0.0, ROWS)
    assert opened.window_end == DAY + timedelta(days=4, hours=12)
    assert points(busy, "count")[4 * 24 + 11] == 0
    assert points(busy, "freshness")[4 * 24 + 11] == 24


def test_hours_that_are_usually_quiet_say_nothing(busy: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    let_pass(busy, DAY + timedelta(days=4, hours=9), monkeypatch)

    ratios = points(busy, "volume_ratio")

    assert set(ratios) == {3 * 24 + hour for hour in (9, 10, 11)}
    assert set(ratios.values()) == {1.0}


def test_a_week_tells_more_than_yesterday(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    send_hours(model, *(DAY - timedelta(weeks=week) for week in (1, 2, 3)), rows=40)
    send_hours(model, *(DAY - timedelta(days=day) for day in (1, 2, 3)), rows=4)
    send_hours(model, DAY, rows=20)
    work(model)
    let_pass(model, DAY + HOUR, monkeypatch)

    assert points(model, "volume_ratio")[0] == 0.5
    point = MetricPoint.objects.get(model=model, metric="volume_ratio", span="hour", start=DAY)
    assert (point.n, point.threshold, point.status) == (40, 0.5, "ok")
    assert point.detail == {"usual": 40.0, "windows": 3, "apart": "a week"}


def test_an_hour_that_is_not_over_is_not_judged(busy: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    send_hours(busy, DAY + timedelta(days=4, hours=9), rows=1)
    work(busy)

    let_pass(busy, DAY + timedelta(days=4, hours=9, minutes=40), monkeypatch)

    assert 4 * 24 + 9 not in points(busy, "volume_ratio")


def test_rows_that_come_late_end_a_silence(busy: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = DAY + timedelta(days=4, hours=10)
    let_pass(busy, moment, monkeypatch)
    assert points(busy, "volume_ratio")[4 * 24 + 9] == 0

    send_hours(busy, DAY + timedelta(days=4, hours=9))
    work(busy)

    assert points(busy, "volume_ratio")[4 * 24 + 9] == 1.0
    assert points(busy, "count")[4 * 24 + 9] == ROWS


def test_rows_that_are_still_on_their_way_are_no_silence(
    busy: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_hours(busy, DAY + timedelta(days=4, hours=9))
    moment = DAY + timedelta(days=4, hours=11)
    for module in (context, volume):
        monkeypatch.setattr(module, "event_now", lambda **_: moment)

    assert measure_ended(busy, moment) == 0
    work(busy)
    assert measure_ended(busy, moment) > 0


def test_the_tick_looks_only_at_models_with_an_hour_to_measure(
    busy: Model, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_model(project, name="other")
    moment = DAY + timedelta(days=4, hours=11)
    monkeypatch.setattr(volume, "event_nows", lambda **_: {busy.pk: moment, other.pk: moment})
    assert models_with_ended_windows(moment) == [busy]

    let_pass(busy, moment, monkeypatch)

    assert models_with_ended_windows(moment) == []


def test_a_silence_of_days_is_measured_by_as_many_queries_as_one_of_an_hour(
    busy: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CaptureQueriesContext(connection) as short:
        let_pass(busy, DAY + timedelta(days=3, hours=13), monkeypatch)
    with CaptureQueriesContext(connection) as long:
        let_pass(busy, DAY + timedelta(days=6, hours=13), monkeypatch)

    assert points(busy, "freshness")[6 * 24 + 12] == 3 * 24 + 1
    assert len(long) <= len(short) + 10


def test_a_rule_on_freshness_needs_no_rows(busy: Model, project: Project) -> None:
    rule = create_rule(
        project=project, model=busy, actor="test", name="silent", metric="freshness", span="hour", threshold=6
    )

    assert rule.min_rows == 1
    with pytest.raises(Problem, match="by the hour"):
        create_rule(
            project=project, model=busy, actor="test", name="s", metric="freshness", span="day", threshold=6
        )
