"""The loop goes on whatever happens to brokers, and one process at a time sends."""

import gc
import os
import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from confluent_kafka import Producer
from django.db import connection
from django.db.models.functions import Now
from msgspec.structs import replace

from driftline.base.accounts.models import Project
from driftline.base.keys.secrets_at_rest import encrypt
from driftline.base.outbound import addresses
from driftline.base.outbound.addresses import AddressBlocked
from inference.connectors.failure import ConnectorFailed
from inference.connectors.kafka import settings as kafka_settings
from inference.prediction_log.items import LabelItem
from inference.registry.models import Model
from monitors.sinks.models import Sink
from monitors.sinks.producer import SinkProducer
from monitors.sinks.selectors import secret_of, settings_of, sinks_to_send
from monitors.sinks.sending import SinkSender
from monitors.sinks.services import set_sink
from monitors.sinks.settings import SinkSettings
from tests.monitors.sinks.conftest import Read, address_of, send_all, sent
from tests.ports import free_port
from tests.waiting import wait_until
from tests.worlds.approvals import DAY, label, log, rows_of_a_day

pytestmark = pytest.mark.django_db

ROWS = rows_of_a_day(DAY, 20)


@pytest.mark.slow
def test_while_no_broker_answers_the_sink_says_so_and_nothing_is_lost(
    project: Project, model: Model, kafka: SinkSettings, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitors.sinks.producer.ANSWER_SECONDS", 0.2)
    nobody = kafka.model_copy(update={"brokers": [f"127.0.0.1:{free_port()}"]})
    sink = set_sink(project=project, settings=nobody, actor="ada")
    log(model, ROWS)
    send_all(sink)
    sink.refresh_from_db()
    assert sink.failing_since is not None
    assert sink.error
    assert not sent(sink)
    monkeypatch.undo()

    set_sink(project=project, settings=kafka, actor="ada")
    send_all(sink)

    sink.refresh_from_db()
    assert (sink.error, sink.failing_since) == ("", None)
    assert len(read("predictions")) == 20


@pytest.mark.slow
def test_messages_that_are_not_acknowledged_in_time_are_sent_again(
    project: Project, model: Model, kafka: SinkSettings, read: Read
) -> None:
    dying = Producer({"bootstrap.servers": "x:1", "test.mock.num.brokers": 1, "log_level": 0})
    address = wait_until(lambda: address_of(dying), what="the mock cluster")
    brief = kafka.model_copy(update={"brokers": [address]})
    sink = set_sink(project=project, settings=brief, actor="ada")
    log(model, ROWS)

    def open_and_lose(one: Sink) -> SinkProducer:
        producer = SinkProducer(settings_of(one), secret_of(one), delivery_seconds=0.5)
        dying.close()
        return producer

    send_all(sink, open_producer=open_and_lose)
    sink.refresh_from_db()
    assert sink.error.startswith(f"{kafka.prefix}predictions: ")
    assert not sent(sink)

    set_sink(project=project, settings=kafka, actor="ada")
    send_all(sink)

    assert {message.value["id"] for message in read("predictions")} == {row.id for row in ROWS}


@pytest.mark.slow
def test_a_stream_that_fails_does_not_stop_the_others(
    model: Model, sink: Sink, kafka: SinkSettings, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitors.sinks.producer.MAX_MESSAGE_BYTES", 1_000)
    log(model, [replace(ROWS[0], features={"region": "x" * 2_000})])
    label(model, [LabelItem("a", "1", None)])

    send_all(sink)

    sink.refresh_from_db()
    assert sink.error.startswith(f"{kafka.prefix}predictions: ")
    assert sink.failing_since is not None
    assert [message.value["id"] for message in read("labels")] == ["a"]

    monkeypatch.undo()
    send_all(sink)

    sink.refresh_from_db()
    assert (sink.error, sink.failing_since) == ("", None)
    assert [message.value["id"] for message in read("predictions")] == [ROWS[0].id]


@pytest.mark.slow
def test_a_sink_that_is_changed_sends_nothing_more_to_where_it_was(
    project: Project, model: Model, sink: Sink, kafka: SinkSettings, read: Read
) -> None:
    class ChangedMeanwhile(SinkProducer):
        def send(self, *args: Any) -> int:
            count = super().send(*args)
            later = kafka.model_copy(update={"prefix": f"{kafka.prefix}later."})
            set_sink(project=project, settings=later, actor="ada")
            return count

    log(model, ROWS)
    label(model, [LabelItem("a", "1", None)])

    send_all(sink, open_producer=lambda one: ChangedMeanwhile(settings_of(one), ""))

    assert len(read("predictions")) == 20
    assert read("labels") == []
    send_all(sink)
    assert [message.value["id"] for message in read("later.labels")] == ["a"]


def test_another_process_sends_only_once_the_lease_is_over(model: Model, sink: Sink) -> None:
    Sink.objects.update(sender=uuid.uuid4(), sender_until=Now() + timedelta(seconds=60))
    log(model, ROWS)
    send_all(sink)
    assert not sent(sink)
    assert not sinks_to_send().exists()

    Sink.objects.update(sender_until=Now() - timedelta(seconds=1))
    send_all(sink)

    assert sent(sink)["predictions"] == 20
    assert sinks_to_send().get().sender is None


def test_a_cluster_that_names_a_broker_which_must_not_be_called_gets_nothing(
    model: Model, sink: Sink, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(model, ROWS)
    calls: list[str] = []

    def resolve(host: str, *rest: Any, **others: Any) -> Any:
        calls.append(host)
        if len(calls) > 1:  # the first is the broker of the settings, the next what the cluster calls it
            raise AddressBlocked("it is of a network that is not allowed")
        return addresses.resolve(host, *rest, **others)

    monkeypatch.setattr(kafka_settings, "resolve", resolve)
    send_all(sink)

    sink.refresh_from_db()
    assert "must not be reached" in sink.error
    assert read("predictions") == []


@pytest.mark.slow
def test_an_idle_producer_notices_that_a_broker_must_not_be_called_any_more(
    sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AddressBlocked("it is of a network that is not allowed")

    with SinkProducer(settings_of(sink), "") as producer:
        monkeypatch.setattr(kafka_settings, "resolve", refuse)

        def poll() -> str:
            try:
                producer.poll()
            except ConnectorFailed as error:
                return str(error)
            return ""

        assert "must not be reached" in wait_until(poll, what="the refusal")
        assert not producer.is_usable


def test_a_secret_that_cannot_be_read_is_said(model: Model, sink: Sink, settings: Any) -> None:
    Sink.objects.update(secret=encrypt("pw"))
    settings.SECRET_KEY = "another"
    log(model, ROWS)

    send_all(sink)

    sink.refresh_from_db()
    assert "DRIFTLINE_SECRET_KEY" in sink.error


def test_a_sink_that_was_deleted_ends_its_loop(sink: Sink) -> None:
    Sink.objects.all().delete()

    SinkSender(sink.pk, threading.Event()).run()

    assert connection.is_usable()


@pytest.mark.slow
def test_a_producer_that_was_closed_leaves_no_thread(sink: Sink) -> None:
    gc.collect()
    gc.disable()
    before = len(os.listdir("/proc/self/task"))
    try:
        for _ in range(5):
            with SinkProducer(settings_of(sink), ""):
                pass

        assert len(os.listdir("/proc/self/task")) <= before
    finally:
        gc.enable()
