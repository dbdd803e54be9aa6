"""A source that is behind is noticed by a rule, and one that is merely busy or paused is not."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from driftline.base.accounts.models import Project
from driftline.base.clock import now
from inference.prediction_log.sources.kinds import read_settings
from inference.prediction_log.sources.models import Source
from inference.prediction_log.sources.reading.lag import UNREAD_AFTER, lag_of
from inference.prediction_log.sources.reading.positions import begin_partition, note_ends
from inference.prediction_log.sources.selectors import statuses_of
from inference.prediction_log.sources.services import create_source, set_enabled, update_source
from inference.registry.models import Model
from inference.registry.services import archive_model
from monitors.definitions.models import MonitorKind
from monitors.metrics.store.models import MetricPoint
from monitors.metrics.tasks import measure_what_ended
from monitors.metrics.traffic.source_lag import measure_lag, models_with_sources
from monitors.rules.defaults import add_default_rules
from monitors.rules.models import Transition
from monitors.rules.sentences import sentence_of
from tests.worlds.approvals import DAY, make_model, work
from tests.worlds.every_kind import make_source

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
NOON = DAY + 12 * HOUR


@pytest.fixture
def model(settings: Any) -> Model:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32", "203.0.113.0/24"]
    return make_model(Project.objects.create(slug="p", name="P"))


@pytest.fixture
def source(model: Model) -> Source:
    """A source that was read to its end at noon, in two partitions."""
    made = make_source(model, "scores").source
    made.positions.all().delete()
    for partition in ("t/0", "t/1"):
        made.positions.create(partition=partition, next_offset=10, end_offset=10)
    read(made, NOON)
    return made


def read(source: Source, at: datetime) -> None:
    """Have a consumer read a source at a time."""
    Source.objects.filter(pk=source.pk).update(read_at=at, created_at=DAY)


def leave_waiting(source: Source, partition: str, *, since: datetime, stored: datetime | None) -> None:
    """Let messages wait in a partition since a time, where the last one that is stored was sent at another."""
    found = source.positions.filter(partition=partition)
    found.update(end_offset=15, behind_since=since, last_message_at=stored)


def seconds_behind(model: Model, at: datetime = NOON) -> float:
    lag = lag_of(model, now=at)
    assert lag is not None
    return lag.seconds


class TestLag:
    def test_is_zero_where_nothing_waits(self, model: Model, source: Source) -> None:
        assert seconds_behind(model) == 0

    def test_is_as_long_as_messages_wait(self, model: Model, source: Source) -> None:
        leave_waiting(source, "t/1", since=NOON - 2 * HOUR, stored=NOON - 5 * HOUR)

        assert seconds_behind(model) == 7_200

    def test_is_short_where_messages_come_all_the_time(self, model: Model, source: Source) -> None:
        leave_waiting(source, "t/1", since=NOON - 9 * HOUR, stored=NOON - timedelta(seconds=4))

        assert seconds_behind(model) == 4

    def test_of_a_source_that_nobody_reads_grows(self, model: Model, source: Source) -> None:
        assert seconds_behind(model, NOON + UNREAD_AFTER) == 0
        assert seconds_behind(model, NOON + 2 * HOUR) == 7_200

    def test_is_that_of_the_source_furthest_behind(self, model: Model, source: Source) -> None:
        other = make_source(model, "others").source
        other.positions.all().delete()
        read(other, NOON - HOUR)

        lag = lag_of(model, now=NOON)

        assert lag is not None
        assert (lag.source, lag.seconds) == ("others", 3_600)

    def test_of_topics_that_are_read_no_more_is_not_counted(self, model: Model, source: Source) -> None:
        leave_waiting(source, "t/1", since=NOON - 2 * HOUR, stored=None)
        assert statuses_of([source])[source.pk].lag_messages == 5

        source.refresh_from_db()
        topics = source.settings | {"topics": ["another"]}
        update_source(source=source, settings=read_settings(topics), actor="ada")

        assert seconds_behind(model) == 0
        assert statuses_of([source])[source.pk].lag_messages == 0

    def test_in_messages_is_not_known_of_mqtt(self, model: Model) -> None:
        settings = read_settings({"kind": "mqtt", "server": "203.0.113.1:8883", "topics": ["a"]})
        ovens = create_source(
            project=model.project, model=model, actor="ada", name="ovens", what="labels", settings=settings
        )
        ovens.positions.create(partition="a", next_offset=10, end_offset=10)

        assert statuses_of([ovens])[ovens.pk].lag_messages is None

    def test_is_not_asked_of_a_paused_source(self, model: Model, source: Source) -> None:
        set_enabled(source=source, actor="ada", enabled=False)

        assert lag_of(model, now=NOON + 9 * HOUR) is None
        assert models_with_sources() == []

    def test_is_none_of_a_new_source_until_a_consumer_had_time_to_begin(
        self, model: Model, source: Source
    ) -> None:
        Source.objects.filter(pk=source.pk).update(read_at=None, created_at=NOON)

        assert lag_of(model, now=NOON + UNREAD_AFTER) is None
        assert seconds_behind(model, NOON + HOUR) == 3_600

    def test_of_a_source_that_is_read_again_begins_then(self, model: Model, source: Source) -> None:
        set_enabled(source=source, actor="ada", enabled=False)
        source.refresh_from_db()

        set_enabled(source=source, actor="ada", enabled=True)
        assert seconds_behind(model, now()) < UNREAD_AFTER.total_seconds()

        read(source, NOON)
        archive_model(model=model, is_archived=True, actor="ada")
        archive_model(model=model, is_archived=False, actor="ada")
        assert seconds_behind(model, now()) < UNREAD_AFTER.total_seconds()

    def test_begins_when_a_consumer_first_sees_messages_wait(self, source: Source) -> None:
        begin_partition(source.pk, "t/2", 0)
        position = source.positions.get(partition="t/2")

        note_ends(source.pk, {"t/2": 3})
        position.refresh_from_db()
        first = position.behind_since
        note_ends(source.pk, {"t/2": 4})
        position.refresh_from_db()
        assert first is not None
        assert position.behind_since == first

        source.positions.filter(pk=position.pk).update(next_offset=4)
        note_ends(source.pk, {"t/2": 4})
        position.refresh_from_db()
        assert position.behind_since is None


class TestRule:
    @pytest.mark.slow
    def test_fires_while_a_source_is_behind_and_recovers(self, model: Model, source: Source) -> None:
        add_default_rules(project=model.project, model=model, actor="ada")
        rule = model.rules.get(metric="ingest_lag")
        assert "Lag of sources" in sentence_of(rule)

        for hour, seen in ((12, 12), (15, 12), (16, 16)):
            read(source, DAY + seen * HOUR)
            assert measure_lag(model, DAY + hour * HOUR)
            work(model)

        assert list(rule.transitions.order_by("pk").values_list("kind", "window_end")) == [
            ("opened", DAY + 15 * HOUR),
            ("resolved", DAY + 16 * HOUR),
        ]
        assert Transition.objects.filter(rule=rule, kind="opened").get().value == 3 * 3_600

    def test_an_hour_is_measured_once(self, model: Model, source: Source) -> None:
        assert measure_lag(model, NOON)
        assert not measure_lag(model, NOON + timedelta(minutes=59))
        assert measure_lag(model, NOON + HOUR)

        points = MetricPoint.objects.filter(metric="ingest_lag").order_by("start")
        assert [point.detail for point in points] == [{"source": "scores"}] * 2

    def test_needs_a_model_that_is_watched(self, model: Model, source: Source) -> None:
        model.monitors.filter(kind=MonitorKind.SERVICE).update(enabled=False)

        assert not measure_lag(model, NOON)

    def test_the_clock_measures_it(self, model: Model, source: Source) -> None:
        measure_what_ended()

        point = MetricPoint.objects.get(metric="ingest_lag")
        assert point.value is not None
        assert point.value > 0

    def test_a_model_without_sources_has_no_such_rule(self, model: Model) -> None:
        add_default_rules(project=model.project, model=model, actor="ada")

        assert not model.rules.filter(metric="ingest_lag").exists()
