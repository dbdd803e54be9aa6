"""Events, labels and metric points reach their topics."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import orjson
import pytest
from django.db import connection, transaction

from driftline.base.accounts.models import Project
from driftline.base.http.responses import write_json
from inference.prediction_log.ingest import arrival
from inference.prediction_log.items import LabelItem
from inference.prediction_log.labels.folding import fold_labels
from inference.prediction_log.models import Label, UnsentLabel
from inference.registry.models import Model
from monitors.feed.models import FeedEvent
from monitors.feed.schemas import FeedEventOut
from monitors.feed.services import record_event
from monitors.metrics.store.models import MetricPoint, PackedPoints
from monitors.sinks.models import Sink, UnsentPoints
from monitors.sinks.services import set_sink, stop_sink
from monitors.sinks.settings import SinkSettings
from monitors.sinks.streams.points import next_batch
from tests.inference.prediction_log.labels.closed_weeks import let_narrow_rows_go
from tests.monitors.sinks.conftest import Read, send_all, sent
from tests.worlds.approvals import DAY, label, log, rows_of_a_day, work

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def record(project: Project, n: int) -> FeedEvent:
    return record_event(
        project=project, kind="run.failed", subject=f"run-{n}", text=f"Run {n} failed.", data={"run": n}
    )


# -- events ------------------------------------------------------------------------------------------------------------
def test_an_event_is_sent_as_the_feed_has_it(project: Project, sink: Sink, read: Read) -> None:
    record(project, 1)

    send_all(sink)

    [message] = read("events")
    event = FeedEvent.objects.get(subject="run-1")
    assert message.key == f"p/{event.event_id}"
    assert message.value == {"project": "p"} | orjson.loads(write_json(FeedEventOut.of(event)))


def test_events_are_sent_once_in_their_order_and_none_of_before_the_sink(
    project: Project, kafka: SinkSettings, read: Read
) -> None:
    record(project, 0)
    sink = set_sink(project=project, settings=kafka, actor="ada")
    for n in (1, 2):
        record(project, n)
    send_all(sink)
    record(project, 3)

    send_all(sink)

    assert sorted(message.value["data"]["run"] for message in read("events")) == [1, 2, 3]


def test_an_event_that_commits_late_is_sent(project: Project, sink: Sink, read: Read) -> None:
    late = record(project, 1)
    FeedEvent.objects.filter(pk=late.pk).update(number=2**62)  # nobody sees it: its transaction is open
    record(project, 2)
    send_all(sink)
    FeedEvent.objects.filter(pk=late.pk).update(number=None)

    send_all(sink)

    assert sorted(message.value["data"]["run"] for message in read("events")) == [1, 2]


# -- labels ------------------------------------------------------------------------------------------------------------
def test_each_revision_of_a_label_is_sent(model: Model, sink: Sink, read: Read) -> None:
    [row] = rows_of_a_day(DAY, 1)
    log(model, [row])
    label(model, [LabelItem(row.id, "0", None)])
    label(model, [LabelItem(row.id, "1", DAY + timedelta(days=1))])
    label(model, [LabelItem("unknown", "1", None)])

    send_all(sink)

    found = {message.key: message.value for message in read("labels")}
    assert {key: (one["value"], one["revision"], one["prediction_id"]) for key, one in found.items()} == {
        f"p/approvals/{row.id}/1": ("0", 1, row.id),
        f"p/approvals/{row.id}/2": ("1", 2, row.id),
        "p/approvals/unknown/1": ("1", 1, None),
    }
    second = found[f"p/approvals/{row.id}/2"]
    assert (second["is_current"], second["labelled_at"]) == (True, "2026-01-06T00:00:00Z")


def test_a_label_that_is_not_there_any_more_is_not_sent_and_is_counted(
    model: Model, sink: Sink, read: Read
) -> None:
    label(model, [LabelItem("a", "1", None), LabelItem("b", "1", None)])
    Label.objects.filter(given_id="a").delete()

    send_all(sink)

    assert [message.value["id"] for message in read("labels")] == ["b"]
    assert sink.streams.get(kind="labels").lost == 1


def test_labels_that_could_be_folded_wait_in_rows_of_their_own_until_they_were_sent(
    model: Model, sink: Sink, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "_closed", set())
    monkeypatch.setattr(arrival, "_clock", "timestamptz '2026-01-07 12:00Z'")
    rows = rows_of_a_day(DAY, 10)
    log(model, rows)
    label(model, [LabelItem(row.id, "0", None) for row in rows[:5]])
    label(model, [LabelItem(rows[0].id, "1", None)])
    let_narrow_rows_go()
    assert Label.objects.count() == 6

    send_all(sink)

    assert {(one.value["id"], one.value["revision"]) for one in read("labels")} == {
        *((row.id, 1) for row in rows[:5]),
        (rows[0].id, 2),
    }
    assert sink.streams.get(kind="labels").lost == 0
    assert fold_labels() == 6
    assert not Label.objects.exists()


# -- metric points -----------------------------------------------------------------------------------------------------
def test_the_points_of_a_window_are_sent_and_again_when_they_change(
    model: Model, sink: Sink, read: Read
) -> None:
    rows = rows_of_a_day(DAY, 50)
    log(model, rows[:25])
    work(model)
    send_all(sink)
    log(model, rows[25:])
    work(model)

    send_all(sink)

    points = [one.value for one in read("metrics") if one.value["metric"] == "count"]
    daily = sorted(one["value"] for one in points if one["span"] == "day" and one["version"] == "")
    stored = MetricPoint.objects.get(model=model, metric="count", span="day", version="", role="champion")
    assert daily[0] == 25
    assert daily[-1] == stored.value == 50
    assert {"start", "end", "status", "n", "revision", "model", "threshold"} <= points[0].keys()


def test_points_are_sent_in_batches_of_a_bounded_number(
    model: Model, sink: Sink, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(model, rows_of_a_day(DAY, 50))
    work(model)
    row, *others = PackedPoints.objects.filter(pk__in=UnsentPoints.objects.values("row")).order_by("pk")
    monkeypatch.setattr("monitors.sinks.streams.points.MAX_POINTS", len(row.statuses))

    batch = next_batch(sink.streams.get(kind="metrics"))
    assert batch is not None
    first = [*batch.messages]
    send_all(sink)

    assert others
    assert 0 < len(first) <= len(row.statuses)
    assert len(read("metrics")) == MetricPoint.objects.filter(model=model).count()


# -- which streams -----------------------------------------------------------------------------------------------------
def test_only_the_streams_that_were_chosen_are_sent(
    project: Project, model: Model, kafka: SinkSettings, read: Read
) -> None:
    chosen = kafka.model_copy(update={"streams": ["events"]})
    sink = set_sink(project=project, settings=chosen, actor="ada")
    log(model, rows_of_a_day(DAY, 5))
    label(model, [LabelItem("a", "1", None)])
    record(project, 1)

    send_all(sink)

    assert sent(sink).keys() == {"events"}


def test_a_stream_that_is_chosen_later_begins_then(
    project: Project, model: Model, kafka: SinkSettings, read: Read
) -> None:
    sink = set_sink(project=project, settings=kafka.model_copy(update={"streams": ["events"]}), actor="ada")
    label(model, [LabelItem("a", "1", None)])
    set_sink(project=project, settings=kafka, actor="ada")
    label(model, [LabelItem("b", "1", None)])

    send_all(sink)

    assert [message.value["id"] for message in read("labels")] == ["b"]


def test_a_stream_begins_without_what_an_overlapping_writer_marked_for_the_sink_before(
    project: Project, model: Model, kafka: SinkSettings, sink: Sink, read: Read
) -> None:
    stop_sink(sink=sink, confirm="p", actor="ada")
    label(model, [LabelItem("a", "1", None)])
    UnsentLabel.objects.create(model=model, given_id="a", revision=1)  # of a writer that saw the sink
    second = set_sink(project=project, settings=kafka, actor="ada")
    label(model, [LabelItem("b", "1", None)])

    send_all(second)

    assert [message.value["id"] for message in read("labels")] == ["b"]


@pytest.mark.django_db(transaction=True)
def test_models_can_be_changed_while_streams_are_turned_on_and_off(
    project: Project, model: Model, kafka: SinkSettings
) -> None:
    log(model, rows_of_a_day(DAY, 5))

    def change() -> int:
        try:
            with transaction.atomic():
                return len(Model.objects.select_for_update(no_key=True, nowait=True))
        finally:
            connection.close()

    with transaction.atomic(), ThreadPoolExecutor(1) as other:
        sink = set_sink(project=project, settings=kafka, actor="ada")
        stop_sink(sink=sink, confirm="p", actor="ada")
        assert other.submit(change).result() == 1
