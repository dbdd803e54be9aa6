"""Fewer predictions than usual, and none at all: noticed though nothing arrives that would say so."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from msgspec.structs import replace
from pytest_django import DjangoDbBlocker

from driftline.base.accounts.models import Project
from driftline.base.errors import Problem
from driftline.base.periods import rfc3339
from inference.prediction_log.imports import file_ends
from inference.prediction_log.queries import event_clock
from inference.registry.models import Model
from monitors.alerts.incidents.handling import handle_transition
from monitors.alerts.models import Incident
from monitors.alerts.story import RESOLVED, gather
from monitors.alerts.wording import moment
from monitors.metrics import context
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.traffic import volume
from monitors.metrics.traffic.volume import IMPOSSIBLE, measure_ended, models_with_ended_windows
from monitors.rules.defaults import add_default_rules
from monitors.rules.models import Transition
from monitors.rules.services import create_rule
from tests.shared_rows import rows_of_many_tests
from tests.worlds.approvals import DAY, log, make_model, rows_of_a_day, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

HOUR = timedelta(hours=1)
ROWS = 30


def send_hours(model: Model, *hours: datetime, rows: int = ROWS) -> None:
    for hour in hours:
        made = [
            replace(row, id=f"{hour:%m%d%H}-{number}", timestamp=rfc3339(hour + number * HOUR / (2 * rows)))
            for number, row in enumerate(rows_of_a_day(hour, rows))
        ]
        log(model, made)


def send_history(model: Model, hours: Iterable[int]) -> None:
    """Log a row in each of some hours since `DAY`, all at once."""
    rows = [
        replace(row, id=f"h{hour}", timestamp=rfc3339(DAY + hour * HOUR))
        for hour, row in ((hour, rows_of_a_day(DAY, 1)[0]) for hour in hours)
    ]
    log(model, rows)
    work(model)


def let_pass(model: Model, moment: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring event time to a moment, as the wall clock does while nothing arrives, and let the tick come."""
    for module in (event_clock, file_ends, context, volume):
        monkeypatch.setattr(module, "event_now", lambda **_: moment, raising=True)
    monkeypatch.setattr("monitors.rules.services.event_now", lambda **_: moment)
    measure_ended(model, moment)
    work(model)


def points(model: Model, metric: str, span: str = "hour") -> dict[int, float | None]:
    """Give a metric's values by the hours since `DAY`."""
    found = MetricPoint.objects.filter(model=model, metric=metric, span=span, role="champion", version="")
    return {round((start - DAY) / HOUR): value for start, value in found.values_list("start", "value")}


@pytest.fixture(scope="module")
def project(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Project]:
    """The project, stored once with what is made of it for all tests."""
    with rows_of_many_tests(django_db_blocker):
        yield Project.objects.create(slug="bank", name="Bank")


@pytest.fixture(scope="module")
def busy_model(project: Project) -> Model:
    """A model that was asked in the same three hours of four days."""
    model = make_model(project, "busy")
    send_hours(model, *(DAY + timedelta(days=day, hours=hour) for day in range(4) for hour in (9, 10, 11)))
    work(model)
    return model


@pytest.fixture
def busy(busy_model: Model) -> Model:
    return Model.objects.get(pk=busy_model.pk)


def test_a_model_that_falls_silent_is_noticed_after_three_hours(
    busy: Model, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_default_rules(project=project, model=busy, actor="test")
    let_pass(busy, DAY + timedelta(days=4, hours=8), monkeypatch)

    let_pass(busy, DAY + timedelta(days=4, hours=11, minutes=59), monkeypatch)
    assert not Transition.objects.filter(rule__metric="silence").exists()
    let_pass(busy, DAY + timedelta(days=4, hours=12), monkeypatch)

    [opened] = Transition.objects.filter(rule__metric="silence")
    assert opened.kind == "opened"
    assert opened.window_end == DAY + timedelta(days=4, hours=12)
    assert points(busy, "count")[4 * 24 + 11] == 0
    assert points(busy, "freshness")[4 * 24 + 11] == 24


class TestHistory:
    """Rows of the past that come at once, with nothing between some of them."""

    def test_a_gap_of_hours_is_one_incident_from_its_start_to_its_end(
        self, model: Model, project: Project
    ) -> None:
        add_default_rules(project=project, model=model, actor="test")
        begin = DAY + timedelta(days=3, hours=2)

        send_history(model, (hour for hour in range(7 * 24) if not 0 <= hour - 3 * 24 - 2 < 12))

        assert [points(model, "count")[3 * 24 + hour] for hour in (1, 2, 13, 14)] == [1, 0, 0, 1]
        assert points(model, "freshness")[3 * 24 + 13] == 12
        for transition in Transition.objects.order_by("pk"):
            handle_transition(transition.pk)
        incident = Incident.objects.get()
        assert incident.title == f"approvals: no predictions since {begin:%Y-%m-%d %H:%M} UTC"
        assert incident.status == "resolved"
        last = Transition.objects.get(rule__metric="silence", kind="resolved")
        assert last.window_start == begin + 12 * HOUR
        story = gather(
            event=RESOLVED,
            event_id="1",
            at=last.window_end,
            incident=incident,
            transition=last,
            causes=(),
            ongoing=(),
        )
        assert story.headline == (
            "approvals gets predictions again: it got none, or next to none, "
            f"from {moment(begin)} to {moment(begin + 12 * HOUR)} (12 h 0 min)."
        )

    def test_a_gap_of_months_is_measured_by_the_day(self, model: Model) -> None:
        gap = range(10, 310)

        send_history(model, (24 * day + 12 for day in range(320) if day not in gap))

        days = points(model, "count", "day")
        assert [days[24 * day] for day in (9, 10, 309, 310)] == [1, 0, 0, 1]
        assert len(days) == 320
        assert sum(value == 0 for value in points(model, "count").values()) < 7 * 24 + 20 * 24

    def test_a_gap_is_never_compared_with_itself(self, model: Model) -> None:
        gap = range(30, 60)

        send_history(model, (24 * day + 12 for day in range(62) if day not in gap))

        found = MetricPoint.objects.filter(model=model, metric="volume_ratio", span="day", version="")
        judged = {(one.start - DAY).days: (one.value, one.status) for one in found}
        assert judged[29] == (1.0, "ok")
        assert {judged[day] for day in gap if day in judged} == {(0.0, "warning")}
        assert [day for day in gap if day not in judged] == list(range(51, 60))

    @pytest.mark.parametrize("rows_a_day", [5, 24])
    def test_rows_at_any_time_of_day_are_never_silent(
        self, model: Model, project: Project, rows_a_day: int
    ) -> None:
        rng = np.random.default_rng(7)
        hours = np.sort(rng.choice(60 * 24, 60 * rows_a_day, replace=rows_a_day > 20))

        send_history(model, np.unique(hours).tolist())

        assert max(value or 0 for value in points(model, "silence").values()) < IMPOSSIBLE

    def test_nights_and_weekends_are_no_silence(self, model: Model) -> None:
        send_history(model, (24 * day + hour for day in range(28) if day % 7 < 5 for hour in range(8, 18)))

        assert max(value or 0 for value in points(model, "silence").values()) < 1


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
    assert len(long) <= len(short) + 20


def test_a_rule_on_freshness_needs_no_rows(busy: Model, project: Project) -> None:
    rule = create_rule(
        project=project, model=busy, actor="test", name="silent", metric="freshness", span="hour", threshold=6
    )

    assert rule.min_rows == 1
    with pytest.raises(Problem, match="by the hour"):
        create_rule(
            project=project, model=busy, actor="test", name="s", metric="freshness", span="day", threshold=6
        )
