"""Topics of Avro and Protobuf of a real broker: every row is in the log once, over kills and a registry that fails.

The registry is one of the tests, by the API that Confluent publishes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from driftline.base.clock import now
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source
from inference.prediction_log.sources.reading.preview import preview_stream
from inference.prediction_log.sources.services import create_source
from inference.registry.models import Model
from tests.inference.prediction_log.sources.registry_server import (
    RegistryServer,
    avro_payload,
    registry_server,
    wire,
)
from tests.streams.broker import Broker
from tests.streams.consumers import (
    ROWS,
    assert_each_row_once,
    consumers_of,
    states,
    stored,
    wait_for_messages,
)
from tests.waiting import wait_until

pytestmark = [pytest.mark.streams, pytest.mark.e2e, pytest.mark.slow]

COUNT = min(ROWS, 20_000)
KILLS = 3
TOKEN = "registry-token"

SCORE: dict[str, Any] = {
    "type": "record",
    "name": "Score",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "income", "type": "double"},
        {"name": "prediction", "type": "int"},
    ],
}
WITH_AGE = SCORE | {"fields": [*SCORE["fields"], {"name": "age", "type": ["null", "int"]}]}


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with registry_server() as running:
        running.authorization = f"Bearer {TOKEN}"
        yield running


def make_source(model: Model, broker: Broker, registry: RegistryServer, topic: str) -> Source:
    return create_source(
        project=model.project,
        model=model,
        actor="ada",
        name=topic,
        what="predictions",
        settings=KafkaSettings(brokers=[broker.address], topics=[topic], registry_url=registry.address),
        registry_secret=TOKEN,
        mapping=SourceMapping(timestamp="at", default_version="1"),
    )


def test_avro_over_kills_and_a_registry_that_fails(
    model: Model, broker: Broker, registry: RegistryServer, tmp_path: Path
) -> None:
    """The second half has a schema with one more field, of which the registry says nothing at first."""
    first, second = registry.avro(SCORE), registry.avro(WITH_AGE)
    plain = [
        {"id": f"row-{n}", "at": now(), "income": float(n), "prediction": n % 2, "age": n % 90}
        for n in range(COUNT)
    ]
    half = COUNT // 2
    values = [wire(first, avro_payload(SCORE, one)) for one in plain[:half]]
    poison = [b'{"json": 1}', wire(7, b"\2"), values[0] + b"\0", values[0][:-1]]
    broker.create_topic("avro", 3)
    broker.send("avro", [*values, *poison])
    source = make_source(model, broker, registry, "avro")
    registry.answers[f"/schemas/ids/{second}"] = (503, b"busy")

    with consumers_of("avro", tmp_path) as consumers:
        consumers.start(0)
        consumers.start(1)
        wait_for_messages(source, len(values) + len(poison), consumers)
        broker.send("avro", [wire(second, avro_payload(WITH_AGE, one)) for one in plain[half:]])
        wait_until(lambda: "waiting" in states(source), what="the consumer that waits", seconds=60)
        assert "The schema registry answered 503." in set(source.consumers.values_list("error", flat=True))
        assert DeadLetter.objects.count() == len(poison)
        registry.answers.clear()
        for kill in range(KILLS):
            wait_for_messages(source, half + half * kill / KILLS, consumers)
            consumers.kill(kill % 2)
            consumers.start(kill % 2)
        wait_for_messages(source, COUNT + len(poison), consumers)
        assert [consumers.stop(number) for number in range(2)] == [0, 0]

    assert_each_row_once(model, COUNT)
    assert stored(source) == COUNT + len(poison)
    assert sorted(DeadLetter.objects.values_list("code", flat=True)) == [
        "does_not_fit_schema",
        "not_wire_format",
        "trailing_bytes",
        "unknown_schema",
    ]


def scores_file() -> FileDescriptorProto:
    """The file score.proto."""
    file = FileDescriptorProto(
        name="score.proto", syntax="proto3", dependency=["google/protobuf/timestamp.proto"]
    )
    score = file.message_type.add(name="Score")
    for number, (name, type_) in enumerate(
        [
            ("id", FieldDescriptor.TYPE_STRING),
            ("at", FieldDescriptor.TYPE_MESSAGE),
            ("income", FieldDescriptor.TYPE_DOUBLE),
            ("visits", FieldDescriptor.TYPE_INT64),
            ("prediction", FieldDescriptor.TYPE_INT32),
        ],
        start=1,
    ):
        score.field.add(
            name=name,
            number=number,
            type=type_,  # type: ignore[arg-type]
            label=1,
            type_name=".google.protobuf.Timestamp" if name == "at" else None,
        )
    return file


def protobuf_payloads(count: int) -> list[bytes]:
    """Write so many messages of score.proto, each of its first type."""
    from google.protobuf import timestamp_pb2

    pool = DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(scores_file().SerializeToString())
    score: Any = GetMessageClass(pool.FindMessageTypeByName("Score"))
    at = int(now().timestamp())
    return [
        b"\0"
        + score(
            id=f"row-{n}", at={"seconds": at}, income=n / 2, visits=n % 3, prediction=n % 2
        ).SerializeToString()
        for n in range(count)
    ]


def test_protobuf_over_kills(model: Model, broker: Broker, registry: RegistryServer, tmp_path: Path) -> None:
    number = registry.protobuf(scores_file())
    broker.create_topic("protobuf", 3)
    broker.send("protobuf", [wire(number, payload) for payload in protobuf_payloads(COUNT)])
    source = make_source(model, broker, registry, "protobuf")

    with consumers_of("protobuf", tmp_path) as consumers:
        for consumer in range(2):
            consumers.start(consumer)
        for kill in range(KILLS):
            wait_for_messages(source, COUNT * kill / KILLS, consumers)
            consumers.kill(kill % 2)
            consumers.start(kill % 2)
        wait_for_messages(source, COUNT, consumers)
        assert [consumers.stop(consumer) for consumer in range(2)] == [0, 0]

    assert_each_row_once(model, COUNT)
    assert not DeadLetter.objects.exists()


def test_a_preview_shows_what_is_in_a_message_of_avro(
    model: Model, broker: Broker, registry: RegistryServer
) -> None:
    broker.create_topic("shown", 1)
    number = registry.avro(SCORE)
    one = {"id": "row-1", "at": now(), "income": 2.5, "prediction": 1}
    broker.send("shown", [wire(number, avro_payload(SCORE, one)), wire(7, b"\2")])
    source = make_source(model, broker, registry, "shown")

    good, bad = preview_stream(
        KafkaSettings.model_validate(source.settings),
        secret="",
        source=source,
        mapping=SourceMapping(timestamp="at", default_version="1"),
        what="predictions",
        model=model,
        now=now(),
    )

    assert good.item is not None
    assert (good.item["id"], good.item["features"]) == ("row-1", {"income": 2.5})
    assert '"income":2.5' in good.text
    assert bad.code == "unknown_schema"
