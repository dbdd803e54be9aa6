"""Every message of a stream of JetStream is in the log once, whoever is killed while it is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from nats.js.api import StreamConfig

from driftline.base.clock import now
from driftline.base.periods import rfc3339
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.kinds import read_settings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source
from inference.prediction_log.sources.nats.adapter import NatsAdapter
from inference.prediction_log.sources.nats.settings import NatsSettings
from inference.prediction_log.sources.reading.adapters import sample
from inference.prediction_log.sources.selectors import statuses_of
from inference.prediction_log.sources.services import create_source
from inference.registry.models import Model
from tests.streams.consumers import (
    ROWS,
    assert_each_row_once,
    consumers_of,
    states,
    stored,
    wait_for_messages,
)
from tests.streams.nats_server import PASSWORD, NatsServer, nats_server
from tests.waiting import wait_until

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]

COUNT = min(ROWS, 20_000)
KILLS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with nats_server(tmp_path) as running:
        yield running


def rows(start: int, stop: int) -> list[bytes]:
    moment = rfc3339(now())
    return [
        orjson.dumps(
            {"id": f"row-{n}", "timestamp": moment, "version": "1", "features": {"x": n}, "prediction": n % 2}
        )
        for n in range(start, stop)
    ]


def make_source(model: Model, server: NatsServer, stream: str, **others: Any) -> Source:
    return create_source(
        project=model.project,
        model=model,
        actor="ada",
        name=stream,
        what="predictions",
        settings=read_settings(server.where(stream, **others)),
        mapping=SourceMapping(envelope="log"),
        secret=PASSWORD,
    )


def test_consumers_and_the_server_are_killed(model: Model, server: NatsServer, tmp_path: Path) -> None:
    server.create_stream("scores")
    half = COUNT // 2
    server.send("scores.a", rows(0, half))
    server.send("scores.b", [b"poison"])
    source = make_source(model, server, "scores")

    with consumers_of("scores", tmp_path) as consumers:
        consumers.start(0)
        consumers.start(1)
        wait_for_messages(source, half + 1, consumers)
        server.kill()
        wait_until(lambda: "waiting" in states(source), what="the trouble", seconds=60)
        server.start()
        server.send("scores.a", rows(half, COUNT))
        for kill in range(KILLS):
            wait_for_messages(source, half + half * kill / KILLS, consumers)
            consumers.kill(kill % 2)
            consumers.start(kill % 2)
        wait_for_messages(source, COUNT + 1, consumers)
        wait_until(lambda: statuses_of([source])[source.pk].lag_messages == 0, what="a lag of none")
        assert [consumers.stop(number) for number in range(2)] == [0, 0]

    assert_each_row_once(model, COUNT)
    assert stored(source) == COUNT + 1
    assert DeadLetter.objects.get().code == "malformed_json"


def read(adapter: NatsAdapter, count: int) -> list[int]:
    """Poll until so many messages came, and return their sequences."""
    found: list[int] = []

    def enough() -> bool:
        found.extend(one.offset for one in adapter.poll(0.2))
        return len(found) >= count

    wait_until(enough, what=f"message {count}")
    return found


def adapter_of(source: Source) -> NatsAdapter:
    return NatsAdapter(source.pk, NatsSettings.model_validate(source.settings), PASSWORD)


def test_a_subject_is_read_alone_and_its_lag_counts_no_others(model: Model, server: NatsServer) -> None:
    server.create_stream("mixed")
    for _ in range(5):
        server.send("mixed.mine", [b"{}"])
        server.send("mixed.others", [b"{}"])
    source = make_source(model, server, "mixed", subject="mixed.mine")

    with adapter_of(source) as adapter:
        assert read(adapter, 5) == [1, 3, 5, 7, 9]
        adapter._count_at = 0
        adapter.poll(0)
        assert adapter.ends() == {"mixed/mixed.mine": 10}

    shown = sample(read_settings(source.settings), PASSWORD, messages=2)
    assert [one.offset for one in shown] == [7, 9]


def test_latest_begins_behind_what_is_there(model: Model, server: NatsServer) -> None:
    server.create_stream("late")
    server.send("late.a", [b"{}"] * 3)
    source = make_source(model, server, "late", start="latest")

    with adapter_of(source) as adapter:
        adapter.poll(0)
        server.send("late.a", [b"{}"])
        assert read(adapter, 1) == [4]


def test_messages_that_were_deleted_unread_and_a_stream_made_anew_are_said(
    model: Model, server: NatsServer
) -> None:
    server.create_stream("cut")
    server.send("cut.a", [b"{}"] * 6)
    source = make_source(model, server, "cut")
    source.positions.create(partition="cut", next_offset=2)
    server.ask(lambda streams: streams.purge_stream("cut", seq=5))

    with adapter_of(source) as adapter:
        assert read(adapter, 2) == [5, 6]
    source.refresh_from_db()
    assert source.notice.startswith("Up to 3 messages of cut were deleted before they were read")

    source.positions.update(next_offset=7)
    server.ask(lambda streams: streams.delete_stream("cut"))
    server.create_stream("cut")
    server.send("cut.a", [b"{}"])
    with adapter_of(source) as adapter:
        assert read(adapter, 1) == [1]
    source.refresh_from_db()
    assert source.notice.startswith("cut was read to 7 and ends at 1 now, for it was made anew")


def test_what_a_server_refuses_is_said(model: Model, server: NatsServer) -> None:
    server.ask(lambda streams: streams.add_stream(StreamConfig(name="there", subjects=["there"])))

    for others, secret, reason in (
        ({"stream": "other"}, PASSWORD, "stream not found"),
        ({}, "wrong", "Authorization Violation"),
        ({"ca_certificate": ""}, PASSWORD, "certificate verify failed"),
    ):
        with pytest.raises(ConnectorFailed, match=reason):
            sample(read_settings(server.where("there") | others), secret, messages=1)
