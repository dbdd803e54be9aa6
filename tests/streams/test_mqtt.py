"""Every message that a broker of MQTT keeps for Driftline is in the log once, whoever is killed while it is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.sources.kinds import read_settings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source
from inference.prediction_log.sources.mqtt.adapter import MqttAdapter
from inference.prediction_log.sources.mqtt.settings import MqttSettings
from inference.prediction_log.sources.reading.adapters import sample, session_of
from inference.prediction_log.sources.services import create_source, update_source
from inference.registry.models import Model
from tests.streams.consumers import (
    ROWS,
    assert_each_row_once,
    consumers_of,
    states,
    wait_for_messages,
)
from tests.streams.mqtt_broker import PASSWORD, MqttBroker, mqtt_broker
from tests.waiting import wait_until

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]

COUNT = min(ROWS, 6_000)
KILLS = 4


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[MqttBroker]:
    with mqtt_broker(tmp_path) as running:
        yield running


def rows(start: int, stop: int) -> list[bytes]:
    moment = rfc3339(now())
    return [
        orjson.dumps({"id": f"row-{n}", "timestamp": moment, "version": "1", "x": n, "prediction": n % 2})
        for n in range(start, stop)
    ]


def make_source(model: Model, broker: MqttBroker, *topics: str, **mapping: Any) -> Source:
    return create_source(
        project=model.project,
        model=model,
        actor="ada",
        name="scores",
        what="predictions",
        settings=read_settings(broker.where(*topics)),
        mapping=SourceMapping(**mapping),
        secret=PASSWORD,
    )


def adapter_of(source: Source) -> MqttAdapter:
    settings = MqttSettings.model_validate(source.settings)
    return MqttAdapter(source.pk, settings, PASSWORD, session=session_of(source))


def read(adapter: MqttAdapter, count: int) -> list[bytes | None]:
    """Poll until so many messages came, acknowledge them, and return what they hold."""
    found: list[bytes | None] = []

    def enough() -> bool:
        batch = adapter.poll(0.2)
        found.extend(one.value for one in batch)
        if batch:
            adapter.acknowledge({batch[-1].partition: batch[-1].offset + 1})
        return len(found) >= count

    wait_until(enough, what=f"message {count}")
    return found


def test_consumers_and_the_broker_end_while_devices_send(
    model: Model, broker: MqttBroker, tmp_path: Path
) -> None:
    source = make_source(model, broker, "scores/#")
    half = COUNT // 2

    def logged() -> int:
        return PredictionRow.objects.filter(model=model).count()

    with consumers_of("scores", tmp_path) as consumers:
        consumers.start(0)
        wait_until(source.positions.exists, what="the session", seconds=60)
        wait_until(lambda: "running" in states(source), what="the first look", seconds=60)
        broker.send("scores/oven-1", [*rows(0, half), b"poison"])
        wait_for_messages(source, half / KILLS, consumers)
        broker.stop()
        wait_until(lambda: "waiting" in states(source), what="the trouble", seconds=60)
        broker.start()
        for kill in range(KILLS):
            consumers.kill(0)
            broker.send("scores/oven-2", rows(half + kill * half // KILLS, half + (kill + 1) * half // KILLS))
            consumers.start(0)
            wait_until(
                lambda kill=kill: logged() > half + kill * half // KILLS, what="more rows", seconds=120
            )
        wait_until(lambda: logged() == COUNT, what="all rows", seconds=300)
        assert consumers.stop(0) == 0

    assert_each_row_once(model, COUNT)
    assert {letter.code for letter in DeadLetter.objects.all()} == {"malformed_json"}


def test_what_is_sent_while_nobody_reads_is_kept_and_what_was_not_stored_comes_again(
    model: Model, broker: MqttBroker
) -> None:
    source = make_source(model, broker, "scores/+")
    with adapter_of(source) as adapter:
        adapter.poll(0)
        broker.send("scores/a", [b"1", b"2"])
        wait_until(lambda: adapter.poll(0.2), what="messages that nobody stores")
    broker.send("scores/b", [b"3"])

    with adapter_of(source) as adapter:
        assert sorted(read(adapter, 3)) == [b"1", b"2", b"3"]
    with adapter_of(source) as adapter:
        assert not adapter.poll(0.5)


def test_a_session_that_the_broker_forgot_is_said(model: Model, broker: MqttBroker) -> None:
    source = make_source(model, broker, "scores/+")
    with adapter_of(source) as adapter:
        adapter.poll(0)
        broker.send("scores/a", [b"1"])
        read(adapter, 1)
    source.positions.update(next_offset=2)
    broker.stop()
    (broker.folder / "mosquitto.db").unlink()
    broker.start()

    with adapter_of(source) as adapter:
        adapter.poll(0)

    source.refresh_from_db()
    assert source.notice.startswith("The broker has not kept the session of this source")


def test_topics_that_a_source_reads_no_more_end(model: Model, broker: MqttBroker) -> None:
    source = make_source(model, broker, "scores/a", "scores/b")
    with adapter_of(source) as adapter:
        adapter.poll(0)
    source = update_source(source=source, actor="ada", settings=read_settings(broker.where("scores/b")))

    with adapter_of(source) as adapter:
        adapter.poll(0)
        broker.send("scores/a", [b"1"])
        broker.send("scores/b", [b"2"])
        assert read(adapter, 1) == [b"2"]


def test_a_preview_shows_what_is_retained_and_takes_nothing_from_the_source(
    model: Model, broker: MqttBroker
) -> None:
    source = make_source(model, broker, "scores/+")
    with adapter_of(source) as adapter:
        adapter.poll(0)
    broker.send("scores/a", [b"{}"], retain=True)

    [shown] = sample(read_settings(source.settings), PASSWORD, messages=1)

    assert (shown.value, shown.headers) == (b"{}", {"mqtt-topic": "scores/a"})
    with adapter_of(source) as adapter:
        assert read(adapter, 1) == [b"{}"]


def test_what_a_broker_refuses_is_said(model: Model, broker: MqttBroker) -> None:
    for others, secret, reason in (
        ({}, "wrong", "does not take the connection: Not authorized"),
        ({"ca_certificate": ""}, PASSWORD, "certificate verify failed"),
    ):
        with pytest.raises(ConnectorFailed, match=reason):
            sample(read_settings(broker.where("scores") | others), secret, messages=1)
