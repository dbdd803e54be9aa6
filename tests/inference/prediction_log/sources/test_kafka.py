"""The adapter of Kafka on the mock cluster of librdkafka, which refuses and forgets as a broker does."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, Producer, TopicPartition

from driftline.base.outbound import addresses
from driftline.base.outbound.addresses import AddressBlocked
from driftline.base.processes.process_names import own_name
from inference.connectors.failure import ConnectorFailed
from inference.connectors.kafka import settings as kafka_settings
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.sources.kafka import adapter as kafka_adapter
from inference.prediction_log.sources.kafka.adapter import KafkaAdapter
from inference.prediction_log.sources.kafka.preview import sample_topics
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.models import Source, SourcePosition
from inference.prediction_log.sources.reading.adapters import sample
from inference.prediction_log.sources.reading.consuming import SourceConsumption
from inference.prediction_log.sources.reading.messages import StreamMessage
from tests.embedded import subprocess_environment
from tests.inference.prediction_log.sources.conftest import MakeSource
from tests.inference.prediction_log.sources.streams import prediction
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.slow  # most wait for a broker's timeouts

PARTITIONS = 4  # as the mock makes them


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A mock cluster of one broker; it lives in a producer."""
    holder = Producer({"bootstrap.servers": "x:1", "test.mock.num.brokers": 1, "log_level": 0})
    yield wait_until(lambda: address_of(holder), what="the mock cluster")
    holder.flush()


def address_of(holder: Producer) -> str:
    return next(
        (f"{broker.host}:{broker.port}" for broker in holder.list_topics(timeout=5).brokers.values()), ""
    )


@pytest.fixture
def kafka(cluster: str, request: pytest.FixtureRequest) -> KafkaSettings:
    """Settings of a topic of the test's own."""
    topic = "".join(c for c in request.node.name if c.isalnum() or c == "_")[:200]
    return KafkaSettings(brokers=[cluster], topics=[topic], group=topic)


@pytest.fixture
def source(make_source: MakeSource) -> Source:
    return make_source()


def send(kafka: KafkaSettings, *values: bytes, partition: int = 0, **others: Any) -> None:
    producer = Producer({"bootstrap.servers": kafka.brokers[0], "log_level": 0})
    for value in values:
        producer.produce(kafka.topics[0], value, partition=partition, **others)
    assert producer.flush(30) == 0


def committed(kafka: KafkaSettings, partition: int) -> int:
    """Return the offset that the broker knows of the group."""
    group = Consumer({"bootstrap.servers": kafka.brokers[0], "group.id": kafka.group})
    try:
        return group.committed([TopicPartition(kafka.topics[0], partition)], timeout=10)[0].offset
    finally:
        group.close()


def read(adapter: KafkaAdapter, count: int) -> list[StreamMessage]:
    """Poll until so many messages came."""
    found: list[StreamMessage] = []

    def enough() -> bool:
        found.extend(adapter.poll(0.2))
        return len(found) >= count

    wait_until(enough, what=f"message {count}")
    return found


def read_half(joining: KafkaAdapter, other: KafkaAdapter) -> list[StreamMessage]:
    """Poll both until who joins has a message of each of half of the partitions."""
    found: list[StreamMessage] = []

    def has_half() -> bool:
        found.extend(joining.poll(0.1))
        other.poll(0.1)
        return len(found) == PARTITIONS // 2

    wait_until(has_half, what="half of the partitions")
    return found


def test_messages_come_with_all_that_a_mapping_may_use(source: Source, kafka: KafkaSettings) -> None:
    send(kafka, b"a", b"b", partition=1, key=b"k", headers={"ce_id": b"e"}, timestamp=1_700_000_000_123)

    with KafkaAdapter(source.pk, kafka, "") as adapter:
        first, second = read(adapter, 2)

    assert (first.value, first.key, first.headers) == (b"a", b"k", {"ce_id": "e"})
    assert first.time_us == 1_700_000_000_123_000
    assert (second.partition, second.offset) == (f"{kafka.topics[0]}/1", 1)
    positions = SourcePosition.objects.filter(source=source)
    assert set(positions.values_list("next_offset", flat=True)) == {0}
    assert positions.count() == PARTITIONS


def test_a_time_in_another_unit_is_no_time(source: Source, kafka: KafkaSettings) -> None:
    send(kafka, b"a", timestamp=1_800_000_000_000_000_000)

    with KafkaAdapter(source.pk, kafka, "") as adapter:
        [message] = read(adapter, 1)

    assert message.time_us is None


def test_the_table_says_where_it_reads_on(source: Source, kafka: KafkaSettings) -> None:
    send(kafka, b"a", b"b", b"c")
    partition = f"{kafka.topics[0]}/0"
    SourcePosition.objects.create(source=source, partition=partition, next_offset=2)

    with KafkaAdapter(source.pk, kafka, "") as adapter:
        assert [one.value for one in read(adapter, 1)] == [b"c"]
        SourcePosition.objects.filter(partition=partition).update(next_offset=1)
        adapter.resume()
        assert [one.value for one in read(adapter, 2)] == [b"b", b"c"]


def test_latest_begins_behind_what_is_there_and_loses_nothing_after(
    source: Source, kafka: KafkaSettings
) -> None:
    send(kafka, b"old")
    late = kafka.model_copy(update={"start": "latest"})
    with KafkaAdapter(source.pk, late, "") as adapter:
        wait_until(
            lambda: adapter.poll(0.1) or SourcePosition.objects.count() == PARTITIONS, what="the positions"
        )
    send(kafka, b"new")  # while nobody reads

    with KafkaAdapter(source.pk, late, "") as adapter:
        assert [one.value for one in read(adapter, 1)] == [b"new"]


def test_a_topic_that_shrank_is_said_and_read_from_its_earliest_message(
    source: Source, kafka: KafkaSettings
) -> None:
    send(kafka, b"a", b"b")
    partition = f"{kafka.topics[0]}/0"
    SourcePosition.objects.create(source=source, partition=partition, next_offset=1_000)

    with KafkaAdapter(source.pk, kafka, "") as adapter:
        assert [one.value for one in read(adapter, 2)] == [b"a", b"b"]

    source.refresh_from_db()
    assert source.notice == (
        f"{partition} was read to 1,000 and ends at 2 now, for it was cut or made anew; "
        "reading goes on at the earliest message, 0."
    )
    assert SourcePosition.objects.get(partition=partition).next_offset == 0


def test_a_position_that_the_broker_has_after_all_is_not_rewound(
    source: Source, kafka: KafkaSettings
) -> None:
    send(kafka, b"a", b"b", b"c")
    partition = f"{kafka.topics[0]}/0"
    SourcePosition.objects.create(source=source, partition=partition, next_offset=2)

    with KafkaAdapter(source.pk, kafka, "") as adapter:
        adapter._refused.add(partition)
        assert [one.value for one in read(adapter, 1)] == [b"c"]

    source.refresh_from_db()
    assert source.notice == ""
    assert SourcePosition.objects.get(partition=partition).next_offset == 2


def test_a_poll_ends_at_its_timeout_though_messages_keep_coming(
    source: Source, kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kafka, *(b"%d" % number for number in range(50)))
    monkeypatch.setattr("inference.prediction_log.sources.kafka.adapter.STEP", 1)

    with KafkaAdapter(source.pk, kafka, "") as adapter:
        read(adapter, 1)
        adapter.resume()
        wait_until(lambda: (found := adapter.poll(0)) and len(found) == 1, what="one message")


def test_the_lag_is_known_from_what_the_broker_says(source: Source, kafka: KafkaSettings) -> None:
    send(kafka, b"a", b"b", b"c", partition=2)

    with KafkaAdapter(source.pk, kafka, "") as adapter:
        read(adapter, 3)
        wait_until(
            lambda: adapter.poll(0.1) or adapter.ends().get(f"{kafka.topics[0]}/2") == 3,
            what="the statistics",
        )
        assert adapter.trouble == ""


def test_the_group_hears_what_is_stored(source: Source, kafka: KafkaSettings) -> None:
    send(kafka, b"a", b"b")
    with KafkaAdapter(source.pk, kafka, "") as adapter:
        read(adapter, 2)
        adapter.acknowledge({f"{kafka.topics[0]}/0": 2})

    assert committed(kafka, 0) == 2


@pytest.mark.parametrize("is_refused_late", [False, True])
def test_who_joins_the_group_begins_at_the_table_and_the_other_reads_on_what_it_keeps(
    source: Source, kafka: KafkaSettings, is_refused_late: bool
) -> None:
    """Also where the broker's refusal of a position comes after its partition was taken away."""

    def send_to_each() -> None:
        for number in range(PARTITIONS):
            send(kafka, b"a", partition=number)

    send_to_each()
    with KafkaAdapter(source.pk, kafka, "") as first:
        read(first, PARTITIONS)
        with KafkaAdapter(source.pk, kafka, "") as second:
            begun = read_half(second, first)
            for one in begun if is_refused_late else ():
                first._refuse(one.partition)
            send_to_each()
            kept, moved = read(first, PARTITIONS // 2), read(second, PARTITIONS // 2)

    assert {one.offset for one in begun} == {0}  # nothing of them was stored
    assert {one.offset for one in kept + moved} == {1}
    assert {one.partition for one in moved} == {one.partition for one in begun}
    assert len({one.partition for one in kept + moved}) == PARTITIONS


@pytest.fixture
def dead_reader() -> str:
    """The name of a process of this machine that has ended."""
    says = "from driftline.base.processes.process_names import own_name; print(own_name())"
    environment = subprocess_environment()
    return subprocess.check_output([sys.executable, "-c", says], env=environment, text=True).strip()


def group_member(kafka: KafkaSettings, assigned: list[TopicPartition]) -> Consumer:
    """Make a member of the group that is none of ours; it answers only while it is polled."""
    member = Consumer(
        {
            "bootstrap.servers": kafka.brokers[0],
            "group.id": kafka.group,
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    member.subscribe(list(kafka.topics), on_assign=lambda _, found: assigned.extend(found))
    return member


@contextmanager
def group_that_waits(kafka: KafkaSettings) -> Iterator[None]:
    """Have a member of the group hold all partitions and never answer, as one that died is waited for."""
    assigned: list[TopicPartition] = []
    member = group_member(kafka, assigned)
    try:
        wait_until(lambda: member.poll(0.1) or len(assigned) == PARTITIONS, what="the member")
        yield
    finally:
        member.close()


def test_what_a_process_that_was_killed_read_is_read_on_before_the_group_has_noticed(
    source: Source, kafka: KafkaSettings, dead_reader: str
) -> None:
    [topic] = kafka.topics
    for number in range(PARTITIONS):
        send(kafka, b"a", b"b", partition=number)
    for number, reader in enumerate([dead_reader, dead_reader, "elsewhere 1 1", ""]):
        SourcePosition.objects.create(
            source=source, partition=f"{topic}/{number}", next_offset=1, read_by=reader
        )

    with group_that_waits(kafka), KafkaAdapter(source.pk, kafka, "") as adapter:
        taken = read(adapter, 2)
        adapter.acknowledge({f"{topic}/0": 2})  # of a group of which it is no member yet

    assert committed(kafka, 0) == OFFSET_INVALID
    assert sorted((one.partition, one.offset) for one in taken) == [(f"{topic}/0", 1), (f"{topic}/1", 1)]
    readers = SourcePosition.objects.order_by("partition").values_list("read_by", flat=True)
    assert list(readers) == [own_name(), own_name(), "elsewhere 1 1", ""]


def test_what_was_taken_is_left_to_the_member_that_the_group_gives_it_to(
    source: Source, kafka: KafkaSettings, dead_reader: str
) -> None:
    [topic] = kafka.topics
    for number in range(PARTITIONS):
        send(kafka, b"a", partition=number)
        SourcePosition.objects.create(
            source=source, partition=f"{topic}/{number}", next_offset=0, read_by=dead_reader
        )

    with KafkaAdapter(source.pk, kafka, "") as first:
        read(first, PARTITIONS)
        with KafkaAdapter(source.pk, kafka, "") as second:
            begun = read_half(second, first)
            for number in range(PARTITIONS):
                send(kafka, b"b", partition=number)
            kept, moved = read(first, PARTITIONS // 2), read(second, PARTITIONS // 2)

    assert {one.partition for one in moved} == {one.partition for one in begun}
    assert len({one.partition for one in kept + moved}) == PARTITIONS


def lose_half(adapter: KafkaAdapter, source: Source, kafka: KafkaSettings) -> Consumer:
    """Have a consumer lose partitions to a member that says nothing, and send one message more to each.

    Returns that member.
    """
    for number in range(PARTITIONS):
        send(kafka, b"a", partition=number)
    read(adapter, PARTITIONS)
    SourcePosition.objects.filter(source=source).update(next_offset=1)
    member = group_member(kafka, [])
    wait_until(lambda: adapter.poll(0.1) or adapter._held, what="the loss of partitions")
    for number in range(PARTITIONS):
        send(kafka, b"b", partition=number)
    return member


def test_what_the_group_takes_is_read_on_while_a_member_that_died_is_waited_for(
    source: Source, kafka: KafkaSettings
) -> None:
    with KafkaAdapter(source.pk, kafka, "") as adapter:
        member = lose_half(adapter, source, kafka)
        kept = read(adapter, PARTITIONS)
        wait_until(lambda: adapter.poll(0.1) or member.poll(0.1) or not adapter._held, what="the next round")
        member.close()

    assert len({one.partition for one in kept}) == PARTITIONS
    assert {one.value for one in kept} == {b"b"}


def test_what_the_group_takes_is_not_read_for_longer_than_a_round_may_last(
    source: Source, kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_adapter, "HOLD_SECONDS", 0.0)
    with KafkaAdapter(source.pk, kafka, "") as adapter:
        member = lose_half(adapter, source, kafka)
        kept = [one.partition for one in read(adapter, PARTITIONS // 2)]
        for number in range(PARTITIONS):
            send(kafka, b"c", partition=number)
        kept += [one.partition for one in read(adapter, PARTITIONS // 2)]
        member.close()

    assert len(set(kept)) == PARTITIONS // 2


def test_the_loop_reads_a_topic_and_goes_on_after_it_was_stopped(
    make_source: MakeSource, kafka: KafkaSettings
) -> None:
    source = make_source(envelope="log")
    Source.objects.update(settings=kafka.model_dump())
    send(kafka, *(orjson.dumps(prediction(f"a{number}")) for number in range(50)), b"{")

    for rows, id_ in ((50, "b"), (51, "c")):
        stop = threading.Event()
        loop = SourceConsumption(source.pk, _StopAt(stop, rows), pause_seconds=0.01)  # type: ignore[arg-type]
        loop.run()
        assert PredictionRow.objects.count() == rows
        send(kafka, orjson.dumps(prediction(id_)), partition=3)

    assert source.dead_letters.count() == 1
    assert not source.consumers.exists()


class _StopAt:
    """A stop that comes once so many rows are in the log."""

    def __init__(self, stop: threading.Event, rows: int) -> None:
        self._stop, self._rows = stop, rows

    def is_set(self) -> bool:
        return PredictionRow.objects.count() >= self._rows

    def wait(self, timeout: float) -> bool:
        return self._stop.wait(timeout)


def test_a_preview_takes_nothing_from_the_consumers(source: Source, kafka: KafkaSettings) -> None:
    send(kafka, *(b"%d" % number for number in range(15)))

    shown = sample(kafka, "", messages=10)

    assert [one.value for one in shown] == [b"%d" % number for number in range(5, 15)]
    assert not SourcePosition.objects.exists()


def test_a_preview_of_many_partitions_asks_for_the_first_of_them(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    monkeypatch.setattr("inference.prediction_log.sources.kafka.preview.MAX_PARTITIONS", 1)
    send(kafka, b"shown", partition=0)
    send(kafka, b"not asked for", partition=3)

    assert [one.value for one in sample(kafka, "", messages=10)] == [b"shown"]


def test_a_preview_ends_at_its_deadline_whatever_it_waits_for(kafka: KafkaSettings, settings: Any) -> None:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    send(kafka, b"a")

    with pytest.raises(ConnectorFailed, match="in time"):
        sample_topics(kafka, "", messages=10, seconds=0)


def test_a_topic_that_is_not_there_is_named(source: Source, kafka: KafkaSettings) -> None:
    send(kafka, b"a")
    other = kafka.model_copy(update={"topics": ["no-such-topic"]})

    with KafkaAdapter(source.pk, other, "") as adapter:
        wait_until(lambda: adapter.poll(0.1) or adapter.trouble, what="the trouble")
        assert "Unknown topic" in adapter.trouble


def test_a_broker_that_answers_does_not_hide_that_a_topic_is_missing(
    source: Source, kafka: KafkaSettings
) -> None:
    send(kafka, b"a")
    other = kafka.model_copy(update={"topics": [*kafka.topics, "no-such-topic"]})

    with KafkaAdapter(source.pk, other, "") as adapter:
        wait_until(lambda: adapter.poll(0.1) or adapter.trouble, what="the trouble")
        adapter._on_statistics('{"brokers": {"b": {"nodename": "127.0.0.1:9092", "state": "UP"}}}')
        assert "Unknown topic" in adapter.trouble


def test_a_follower_that_names_an_older_end_for_a_moment_loses_and_doubles_nothing(
    source: Source, kafka: KafkaSettings
) -> None:
    send(kafka, b"a", b"b", partition=0)
    [topic] = kafka.topics
    partition = {"hi_offset": 1, "next_offset": 2}
    statistics = orjson.dumps({"topics": {topic: {"partitions": {"0": partition}}}}).decode()

    with KafkaAdapter(source.pk, kafka, "") as adapter:
        first = read(adapter, 2)
        SourcePosition.objects.filter(partition=f"{topic}/0").update(next_offset=2)
        adapter._on_statistics(statistics)
        send(kafka, b"c", partition=0)
        later = read(adapter, 1)

    assert [one.value for one in [*first, *later]] == [b"a", b"b", b"c"]
    source.refresh_from_db()
    assert source.notice == ""


@pytest.mark.parametrize(("name", "said"), [("::1:9092", "::1 must not be reached"), ("odd", "can be read")])
def test_a_broker_name_without_brackets_is_read_and_an_odd_one_is_said(
    source: Source, kafka: KafkaSettings, name: str, said: str
) -> None:
    send(kafka, b"a")
    statistics = orjson.dumps({"brokers": {"b": {"nodename": name, "state": "UP"}}}).decode()

    with KafkaAdapter(source.pk, kafka, "") as adapter:
        adapter._on_statistics(statistics)
        with pytest.raises(ConnectorFailed, match=said):
            adapter.poll(0.1)


def test_a_broker_that_is_away_fails_by_name(source: Source, settings: Any) -> None:
    away = KafkaSettings(brokers=[f"127.0.0.1:{free_port()}"], topics=["t"], group="g")

    with pytest.raises(ConnectorFailed):
        KafkaAdapter(source.pk, away, "", ask_seconds=1)


def test_a_cluster_in_a_network_that_must_not_be_called_is_not_read(
    source: Source, kafka: KafkaSettings, settings: Any
) -> None:
    settings.OUTBOUND_ALLOW = []

    with pytest.raises(ConnectorFailed, match=r"127\.0\.0\.1 must not be reached"):
        KafkaAdapter(source.pk, kafka, "")


def test_a_broker_name_that_does_not_resolve_is_not_called(
    source: Source, kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_settings, "resolve", _unknown)

    with pytest.raises(ConnectorFailed, match=r"name of the broker 127\.0\.0\.1 does not resolve"):
        KafkaAdapter(source.pk, kafka, "")


def _unknown(*_: Any, **__: Any) -> None:
    raise OSError("Name or service not known")


def test_a_broker_name_that_moves_into_another_network_is_noticed(
    source: Source, kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(kafka, b"a")
    statistics = '{"brokers": {"b": {"nodename": "kafka.example.com:9092", "state": "UP"}}}'

    def moved(*_: Any, **__: Any) -> None:
        raise AddressBlocked("10.0.0.1 is not a public address")

    with KafkaAdapter(source.pk, kafka, "") as adapter:
        for answer in (lambda *_, **__: None, _unknown):
            monkeypatch.setattr(kafka_settings, "resolve", answer)
            adapter._on_statistics(statistics)
            adapter.poll(0)
        monkeypatch.setattr(kafka_settings, "resolve", moved)
        adapter._on_statistics(statistics)
        with pytest.raises(ConnectorFailed, match="must not be reached"):
            adapter.poll(0)


@pytest.mark.parametrize(("allowed", "is_generic"), [([], True), (["127.0.0.1/32"], False)])
def test_a_strangers_port_looks_the_same_closed_or_silent(
    source: Source, settings: Any, monkeypatch: pytest.MonkeyPatch, allowed: list[str], is_generic: bool
) -> None:
    monkeypatch.setattr(addresses, "_is_public", lambda _: True)
    settings.OUTBOUND_ALLOW = allowed
    away = KafkaSettings(brokers=[f"127.0.0.1:{free_port()}"], topics=["t"], group="g", security="tls")

    with pytest.raises(ConnectorFailed) as failed:
        KafkaAdapter(source.pk, away, "", ask_seconds=1)

    assert (str(failed.value) == "The brokers do not answer.") is is_generic
