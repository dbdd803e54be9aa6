"""Messages of Avro and Protobuf by a schema registry: what becomes of them, of bad ones, and while it is away."""

import base64
import datetime
import decimal
import math
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from driftline.base.clock import now
from driftline.base.errors import Problem
from driftline.base.keys.secrets_at_rest import decrypt
from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.models import PredictionRow
from inference.prediction_log.sources.kafka.settings import KafkaSettings
from inference.prediction_log.sources.mapping import SourceMapping
from inference.prediction_log.sources.models import DeadLetter, Source
from inference.prediction_log.sources.reading.messages import StreamMessage
from inference.prediction_log.sources.reading.storing import store_batch
from inference.prediction_log.sources.registry import avro, client, decoding
from inference.prediction_log.sources.registry import protobuf as protobuf_values
from inference.prediction_log.sources.registry.avro import AvroSchema
from inference.prediction_log.sources.registry.client import SchemaRegistry
from inference.prediction_log.sources.registry.decoding import DecodingAdapter, MessageDecoder
from inference.prediction_log.sources.registry.faults import Undecodable
from inference.prediction_log.sources.registry.protobuf import ProtobufSchema
from inference.prediction_log.sources.retrying import retry
from inference.prediction_log.sources.selectors import dead_letters_of
from inference.prediction_log.sources.services import create_source, update_source
from inference.registry.models import Model
from tests.inference.prediction_log.sources.registry_server import (
    RegistryServer,
    avro_payload,
    registry_server,
    wire,
)
from tests.inference.prediction_log.sources.streams import MemoryAdapter, MemoryStream

SCORE: dict[str, Any] = {
    "type": "record",
    "name": "Score",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "income", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "home", "type": ["null", "string"]},
        {"name": "prediction", "type": "int"},
    ],
}
WITH_AGE = SCORE | {"fields": [*SCORE["fields"], {"name": "age", "type": "int", "default": 0}]}
AT = datetime.datetime(2026, 1, 5, 10, tzinfo=datetime.UTC)
Field = FieldDescriptorProto


def score(id_: str, **others: Any) -> dict[str, Any]:
    plain = {"id": id_, "at": AT, "income": decimal.Decimal("41.50"), "home": "rent", "prediction": 1}
    return plain | others


@pytest.fixture
def registry(settings: Any) -> Iterator[RegistryServer]:
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    with registry_server() as running:
        yield running


@pytest.fixture
def decoder(registry: RegistryServer) -> MessageDecoder:
    return MessageDecoder(SchemaRegistry(registry.address, "", ""))


def message(value: bytes | None, offset: int = 0) -> StreamMessage:
    return StreamMessage(partition="t/0", offset=offset, value=value)


def decoded(decoder: MessageDecoder, value: bytes) -> Any:
    """Return the JSON that a message becomes."""
    found = decoder.decode(message(value))
    assert found.fault is None, found.fault
    return orjson.loads(found.value or b"")


def code_of(decoder: MessageDecoder, value: bytes) -> str:
    """Return why a message cannot be decoded; it stays as it came."""
    found = decoder.decode(message(value))
    assert found.value == value
    assert found.fault is not None
    return found.fault.code


# -- Avro --------------------------------------------------------------------------------------------------------------
class TestAvro:
    def test_values_become_what_a_mapping_can_read(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        fields: dict[str, tuple[Any, Any, Any]] = {
            "time": ({"type": "long", "logicalType": "timestamp-micros"}, AT, "2026-01-05T10:00:00Z"),
            "local": (
                {"type": "long", "logicalType": "local-timestamp-millis"},
                AT.replace(tzinfo=None),
                "2026-01-05T10:00:00Z",
            ),
            "day": ({"type": "int", "logicalType": "date"}, AT.date(), "2026-01-05"),
            "amount": (
                {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
                decimal.Decimal("-1.05"),
                -1.05,
            ),
            "key": ({"type": "string", "logicalType": "uuid"}, uuid.UUID(int=5), str(uuid.UUID(int=5))),
            "raw": ("bytes", b"\xff", "/w=="),
            "kind": ({"type": "enum", "name": "Kind", "symbols": ["a", "b"]}, "b", "b"),
            "some": (["null", "double"], 0.5, 0.5),
            "none": (["null", "double"], None, None),
            "nan": ("double", math.nan, None),
            "map": ({"type": "map", "values": "int"}, {"x": 1}, {"x": 1}),
            "list": ({"type": "array", "items": "float"}, [0.5], [0.5]),
        }
        schema = {
            "type": "record",
            "name": "All",
            "fields": [{"name": name, "type": type_} for name, (type_, _, _) in fields.items()],
        }
        written = avro_payload(schema, {name: value for name, (_, value, _) in fields.items()})

        read = decoded(decoder, wire(registry.avro(schema), written))

        assert read == {name: shown for name, (_, _, shown) in fields.items()}

    def test_a_schema_that_changes_in_mid_stream_simply_works(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        first, second = registry.avro(SCORE), registry.avro(WITH_AGE)

        assert "age" not in decoded(decoder, wire(first, avro_payload(SCORE, score("a"))))
        assert decoded(decoder, wire(second, avro_payload(WITH_AGE, score("b", age=7))))["age"] == 7
        assert "age" not in decoded(decoder, wire(first, avro_payload(SCORE, score("c"))))
        assert len(registry.requests) == 2  # each schema is asked for once

    def test_a_schema_that_imports_others_is_read_with_them(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        kind = {"type": "enum", "name": "shop.Kind", "symbols": ["a", "b"]}
        line = {"type": "record", "name": "shop.Line", "fields": [{"name": "kind", "type": "shop.Kind"}]}
        order = {"type": "record", "name": "shop.Order", "fields": [{"name": "line", "type": "shop.Line"}]}
        kinds = registry.avro(kind)
        lines = registry.avro(line, shop__Kind=kinds)
        number = registry.avro(order, shop__Line=lines, shop__Kind=kinds)

        assert decoded(decoder, wire(number, b"\x02")) == {"line": {"kind": "b"}}

    @pytest.mark.parametrize(
        ("schema", "code"),
        [
            (
                {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]},
                "schema_too_deep",
            ),
            ({"type": "array", "items": "null"}, "invalid_schema"),
            ({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}, "invalid_schema"),
            ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, "invalid_schema"),
            ({"type": "record", "name": "R", "fields": [{"name": "x", "type": "Missing"}]}, "invalid_schema"),
            ({"type": "record", "name": 5, "fields": 7}, "invalid_schema"),
            ({"type": "record", "name": "R", "fields": [{"name": 5, "type": "int"}]}, "invalid_schema"),
        ],
    )
    def test_a_schema_that_cannot_be_read_safely_is_refused(
        self, registry: RegistryServer, decoder: MessageDecoder, schema: Any, code: str
    ) -> None:
        assert code_of(decoder, wire(registry.avro(schema), b"\x02" * 1_000)) == code

    def test_types_that_nest_by_their_names_are_counted_as_deep_as_they_are(self) -> None:
        chain = [{"type": "record", "name": "A0", "fields": [{"name": "x", "type": "boolean"}]}]
        chain += [
            {"type": "record", "name": f"A{n}", "fields": [{"name": "x", "type": f"A{n - 1}"}]}
            for n in range(1, 500)
        ]
        fields = [{"name": f"f{number}", "type": one} for number, one in enumerate(chain)]

        with pytest.raises(Undecodable, match="deeper than 32 levels"):
            AvroSchema(orjson.dumps({"type": "record", "name": "T", "fields": fields}).decode(), [])

    def test_text_that_is_no_schema_is_refused(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        for text in ("{", "no schema", "null", "5", "[" * 10_000):
            assert code_of(decoder, wire(registry.register(text), b"\x02")) in (
                "invalid_schema",
                "schema_too_deep",
            )

    def test_a_message_that_ends_early_or_late_is_refused(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        number, written = registry.avro(SCORE), avro_payload(SCORE, score("a"))

        assert code_of(decoder, wire(number, written[:-1])) == "does_not_fit_schema"
        assert code_of(decoder, wire(number, written + b"\0\0")) == "trailing_bytes"
        assert code_of(decoder, wire(number, b"")) == "does_not_fit_schema"

    def test_a_message_that_could_fill_the_memory_is_refused_unread(
        self, registry: RegistryServer, decoder: MessageDecoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(avro, "MAX_DECODED_BYTES", 100_000)
        number = registry.avro({"type": "array", "items": "boolean"})

        assert decoded(decoder, wire(number, b"\x06\1\1\1\0")) == [True, True, True]
        assert code_of(decoder, wire(number, b"\xd0\x0f" + b"\1" * 1_000 + b"\0")) == "message_too_large"

    def test_a_long_decimal_costs_no_time(self, registry: RegistryServer, decoder: MessageDecoder) -> None:
        long = {"type": "bytes", "logicalType": "decimal", "precision": 10**9, "scale": 0}
        number = registry.avro(long)

        assert (
            code_of(decoder, wire(number, avro_payload("bytes", b"\x7f" * 300_000))) == "does_not_fit_schema"
        )

    @given(st.binary(max_size=200))
    def test_no_bytes_make_it_fail_otherwise(self, payload: bytes) -> None:
        schema = AvroSchema(orjson.dumps(WITH_AGE).decode(), [])
        with suppress(Undecodable):
            orjson.loads(schema.decode(payload))


# -- Protobuf ----------------------------------------------------------------------------------------------------------
def add(message: DescriptorProto, name: str, type_: int, *, many: bool = False, of: str = "") -> None:
    """Add a field to a type."""
    label = Field.LABEL_REPEATED if many else Field.LABEL_OPTIONAL
    message.field.add(name=name, number=len(message.field) + 1, type=type_, label=label, type_name=of or None)  # type: ignore[arg-type]


def scores_file() -> FileDescriptorProto:
    """The file scores.proto: a type Score, and in it Features."""
    file = FileDescriptorProto(
        name="scores.proto",
        package="shop",
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto", "confluent/meta.proto", "kinds.proto"],
    )
    file.message_type.add(name="Other")
    row = file.message_type.add(name="Score")
    features = row.nested_type.add(name="Features")
    add(features, "income", Field.TYPE_DOUBLE)
    add(features, "visits", Field.TYPE_INT64)
    tags = row.nested_type.add(name="TagsEntry")
    tags.options.map_entry = True
    add(tags, "key", Field.TYPE_STRING)
    add(tags, "value", Field.TYPE_STRING)
    add(row, "id", Field.TYPE_STRING)
    add(row, "at", Field.TYPE_MESSAGE, of=".google.protobuf.Timestamp")
    add(row, "features", Field.TYPE_MESSAGE, of=".shop.Score.Features")
    add(row, "tags", Field.TYPE_MESSAGE, many=True, of=".shop.Score.TagsEntry")
    add(row, "kind", Field.TYPE_ENUM, of=".shop.Kind")
    add(row, "history", Field.TYPE_MESSAGE, many=True, of=".shop.Score.Features")
    return file


def kinds_file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="kinds.proto", package="shop", syntax="proto3")
    kind = file.enum_type.add(name="Kind")
    kind.value.add(name="FREE", number=0)
    kind.value.add(name="PAID", number=1)
    return file


@pytest.fixture
def scores(registry: RegistryServer) -> int:
    """The number of the schema of scores."""
    return registry.protobuf(scores_file(), kinds__proto=registry.protobuf(kinds_file()))


def field(number: int, payload: bytes) -> bytes:
    """Write a field of a text, bytes or message shorter than 128 bytes."""
    return bytes([number << 3 | 2, len(payload)]) + payload


FEATURES = b"\x09" + bytes.fromhex("0000000000c04440") + b"\x10\x07"  # income 41.5, visits 7
SCORE_MESSAGE = (
    field(1, b"a")
    + field(2, Timestamp(seconds=1_767_571_200).SerializeToString())
    + field(3, FEATURES)
    + field(4, field(1, b"region") + field(2, b"north"))
    + b"\x28\x01"
)
SECOND_TYPE = b"\x02\x02"  # one index, which is 1


class TestProtobuf:
    def test_values_become_what_a_mapping_can_read(self, scores: int, decoder: MessageDecoder) -> None:
        read = decoded(decoder, wire(scores, SECOND_TYPE + SCORE_MESSAGE))

        assert read == {
            "id": "a",
            "at": "2026-01-05T00:00:00Z",
            "features": {"income": 41.5, "visits": 7},
            "tags": {"region": "north"},
            "kind": "PAID",
            "history": [],
        }

    def test_a_field_of_zero_is_zero_and_one_that_is_not_set_is_missing(
        self, scores: int, decoder: MessageDecoder
    ) -> None:
        read = decoded(decoder, wire(scores, SECOND_TYPE + field(3, b"")))

        assert read["features"] == {"income": 0.0, "visits": 0}
        assert "at" not in read

    def test_the_indexes_choose_the_type_and_zero_stands_for_the_first(
        self, scores: int, decoder: MessageDecoder
    ) -> None:
        assert decoded(decoder, wire(scores, b"\0")) == {}
        nested = decoded(decoder, wire(scores, b"\x04\x02\0" + FEATURES))
        assert nested == {"income": 41.5, "visits": 7}

    @pytest.mark.parametrize(
        ("start", "code"),
        [
            (b"", "not_wire_format"),
            (b"\x01", "not_wire_format"),
            (b"\xff\xff\xff\xff\xff\xff", "not_wire_format"),
            (b"\x02\x01", "not_wire_format"),
            (b"\x02\x08", "does_not_fit_schema"),
            (b"\x02\x02\x0a\x05ab", "does_not_fit_schema"),
        ],
    )
    def test_a_message_that_does_not_fit_is_refused(
        self, scores: int, decoder: MessageDecoder, start: bytes, code: str
    ) -> None:
        assert code_of(decoder, wire(scores, start)) == code

    def test_a_type_that_contains_itself_is_read_as_deep_as_a_message_may_be(self) -> None:
        file = FileDescriptorProto(name="n.proto", syntax="proto3")
        add(file.message_type.add(name="N"), "n", Field.TYPE_MESSAGE, of=".N")
        schema = ProtobufSchema(base64.b64encode(file.SerializeToString()).decode(), [])
        deep = b""
        for _ in range(20):
            deep = field(1, deep)

        assert schema.decode(b"\0" + deep).count(b"{") == 21
        with pytest.raises(Undecodable, match="not of its schema"):
            schema.decode(b"\0" + b"\x0b" * 10_000)

    def test_a_message_that_could_fill_the_memory_is_refused(
        self, registry: RegistryServer, decoder: MessageDecoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = FileDescriptorProto(name="w.proto", syntax="proto3")
        add(file.message_type.add(name="T"), "wide", Field.TYPE_MESSAGE, many=True, of=".W")
        wide = file.message_type.add(name="W")
        for number in range(1_000):
            add(wide, f"f{number}", Field.TYPE_DOUBLE)
        number = registry.protobuf(file)
        monkeypatch.setattr(protobuf_values, "MAX_VALUES", 5_000)

        assert len(decoded(decoder, wire(number, b"\0" + b"\x0a\0" * 3))["wide"]) == 3
        assert code_of(decoder, wire(number, b"\0" + b"\x0a\0" * 10)) == "message_too_large"
        assert code_of(decoder, wire(number, b"\0" + b"\x0a\0" * 100_000)) == "message_too_large"

    @pytest.mark.parametrize("text", ["no base64!", base64.b64encode(b"\xff\xff").decode()])
    def test_text_that_is_no_descriptor_is_refused(
        self, registry: RegistryServer, decoder: MessageDecoder, text: str
    ) -> None:
        assert code_of(decoder, wire(registry.register(text, type_="PROTOBUF"), b"\0")) == "invalid_schema"

    def test_an_import_that_the_registry_does_not_name_is_refused_where_it_is_needed(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        assert code_of(decoder, wire(registry.protobuf(scores_file()), b"\0")) == "invalid_schema"

    @given(st.binary(max_size=200))
    def test_no_bytes_make_it_fail_otherwise(self, payload: bytes) -> None:
        text, kinds = (
            base64.b64encode(file.SerializeToString()).decode() for file in (scores_file(), kinds_file())
        )
        with suppress(Undecodable):
            orjson.loads(ProtobufSchema(text, [("kinds.proto", kinds)]).decode(payload))


# -- the registry ------------------------------------------------------------------------------------------------------
class TestRegistry:
    @pytest.mark.parametrize(
        ("user", "secret", "sent"),
        [("ada", "pw", "Basic YWRhOnB3"), ("", "token", "Bearer token"), ("", "", None)],
    )
    def test_it_hears_who_asks(
        self, registry: RegistryServer, user: str, secret: str, sent: str | None
    ) -> None:
        registry.authorization = sent or ""
        number = registry.avro("int")

        SchemaRegistry(registry.address, user, secret).schema(number)

        assert registry.headers[-1].get("Authorization") == sent

    @pytest.mark.parametrize(
        ("value", "code"),
        [
            (b'{"json": 1}', "not_wire_format"),
            (b"\0\0", "not_wire_format"),
            (b"", "not_wire_format"),
            (wire(7, b"\2"), "unknown_schema"),
        ],
    )
    def test_what_it_cannot_know_becomes_a_dead_letter(
        self, decoder: MessageDecoder, value: bytes, code: str
    ) -> None:
        assert code_of(decoder, value) == code

    @pytest.mark.parametrize("number", [2**31, 2**32 - 1])
    def test_a_number_that_no_schema_can_have_is_not_asked_for(
        self, registry: RegistryServer, decoder: MessageDecoder, number: int
    ) -> None:
        assert code_of(decoder, wire(number, b"")) == "not_wire_format"
        assert registry.requests == []

    def test_a_library_that_fails_otherwise_makes_a_dead_letter(
        self, registry: RegistryServer, decoder: MessageDecoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class OfItsOwn(Exception):
            pass

        def fail(*_: object) -> None:
            raise OfItsOwn

        number, other = registry.avro(SCORE), registry.avro(WITH_AGE)
        payload = avro_payload(SCORE, score("a"))
        decoded(decoder, wire(number, payload))

        monkeypatch.setattr(avro, "schemaless_reader", fail)
        assert code_of(decoder, wire(number, payload)) == "does_not_fit_schema"
        monkeypatch.setattr(avro, "parse_schema", fail)
        assert code_of(decoder, wire(other, payload)) == "invalid_schema"

    def test_a_tombstone_passes(self, decoder: MessageDecoder) -> None:
        assert decoder.decode(message(None)) == message(None)

    def test_json_by_a_registry_is_what_follows_its_number(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        number = registry.register("{}", type_="JSON")

        assert decoded(decoder, wire(number, b'{"id": "a"}')) == {"id": "a"}

    def test_a_schema_of_another_type_is_named(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        assert code_of(decoder, wire(registry.register("x", type_="THRIFT"), b"")) == "unsupported_schema"

    def test_a_schema_of_ten_megabytes_is_not_read(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        number = registry.avro(SCORE | {"doc": "x" * 10_000_000})

        assert code_of(decoder, wire(number, b"\2")) == "schema_too_large"

    def test_schemas_that_import_each_other_end(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        first = registry.avro({"type": "record", "name": "A", "fields": [{"name": "b", "type": "B"}]})
        second = registry.avro(
            {"type": "record", "name": "B", "fields": [{"name": "x", "type": "int"}]}, A=first
        )
        one = registry.schemas[first]
        one.references.append({"name": "B", "subject": registry.schemas[second].subject, "version": 1})

        assert code_of(decoder, wire(first, b"\2")) == "invalid_schema"

    def test_more_imports_than_are_read_are_refused(
        self, registry: RegistryServer, decoder: MessageDecoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(client, "MAX_REFERENCES", 3)
        number = registry.avro("int")
        for _ in range(5):
            number = registry.avro("int", x=number)

        assert code_of(decoder, wire(number, b"\2")) == "schema_too_large"

    def test_an_import_that_is_not_there_is_an_unknown_schema(
        self, registry: RegistryServer, decoder: MessageDecoder
    ) -> None:
        number = registry.avro("int")
        registry.schemas[number].references.append({"name": "x", "subject": "a/b c", "version": 3})

        assert code_of(decoder, wire(number, b"\2")) == "unknown_schema"
        assert registry.requests[-1] == "/subjects/a%2Fb%20c/versions/3"

    @pytest.mark.parametrize(
        ("status", "body", "reason"),
        [
            (500, b"{}", "answered 500"),
            (503, b"<html>", "answered 503"),
            (401, b"{}", "does not take the user and the secret"),
            (404, b"<html>not here</html>", "is no schema registry"),
            (404, b'{"error_code": 404}', "is no schema registry"),
            (200, b"<html>sign in</html>", "something else than a schema"),
            (200, b'{"schema": 5}', "something else than a schema"),
            (200, b'{"schema": "', "something else than a schema"),
            (302, b"", "answered 302"),
        ],
    )
    def test_an_answer_that_says_nothing_of_the_schema_makes_the_source_wait(
        self, registry: RegistryServer, decoder: MessageDecoder, status: int, body: bytes, reason: str
    ) -> None:
        number = registry.avro("int")
        registry.answers[f"/schemas/ids/{number}"] = (status, body)

        with pytest.raises(ConnectorFailed, match=reason):
            decoder.decode(message(wire(number, b"\2")))

        registry.answers.clear()
        assert decoded(decoder, wire(number, b"\2")) == 1

    def test_a_registry_that_is_away_makes_the_source_wait(
        self, decoder: MessageDecoder, settings: Any
    ) -> None:
        away = MessageDecoder(SchemaRegistry("http://127.0.0.1:9", "", ""))

        with pytest.raises(ConnectorFailed, match="does not answer"):
            away.decode(message(wire(1, b"\2")))

    def test_a_registry_in_a_network_that_must_not_be_called_is_not(
        self, registry: RegistryServer, decoder: MessageDecoder, settings: Any
    ) -> None:
        settings.OUTBOUND_ALLOW = []

        with pytest.raises(ConnectorFailed, match="blocked_address"):
            decoder.decode(message(wire(registry.avro("int"), b"\2")))
        assert not registry.requests

    def test_an_unknown_schema_is_asked_for_again_after_a_while(
        self, registry: RegistryServer, decoder: MessageDecoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        number = registry.avro("int")
        late = registry.schemas.pop(number)
        for _ in range(3):
            assert code_of(decoder, wire(number, b"\2")) == "unknown_schema"
        assert len(registry.requests) == 1
        registry.schemas[number] = late

        monkeypatch.setattr(decoding.time, "monotonic", lambda: float("1e12"))
        assert decoded(decoder, wire(number, b"\2")) == 1

    def test_those_used_last_are_kept(
        self, registry: RegistryServer, decoder: MessageDecoder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(decoding, "MAX_SCHEMAS", 2)
        first, second, third = (registry.avro("int") for _ in range(3))

        for number in (first, second, first, third, first):
            decoded(decoder, wire(number, b"\2"))

        assert [int(path.rpartition("/")[2]) for path in registry.requests] == [first, second, third]


# -- the stream --------------------------------------------------------------------------------------------------------
@pytest.fixture
def source(model: Model, registry: RegistryServer) -> Source:
    return create_source(
        project=model.project,
        model=model,
        actor="ada",
        name="scores",
        what="predictions",
        settings=KafkaSettings(brokers=["127.0.0.1:9999"], topics=["t"], registry_url=registry.address),
        mapping=SourceMapping(timestamp="at", default_version="1"),
    )


def poll(source: Source, stream: MemoryStream, decoder: MessageDecoder) -> list[StreamMessage]:
    return [*DecodingAdapter(MemoryAdapter(stream, source.pk), decoder).poll(0)]


class TestStream:
    @pytest.mark.slow
    def test_decoded_messages_are_rows_and_others_are_dead_letters_as_they_came(
        self, source: Source, registry: RegistryServer, decoder: MessageDecoder, stream: MemoryStream
    ) -> None:
        number = registry.avro(SCORE)
        stream.send(wire(number, avro_payload(SCORE, score("a"))))
        stream.send(wire(7, b"\2"))

        store_batch(source, poll(source, stream, decoder), now=now())

        assert PredictionRow.objects.get().prediction_id == "a"
        assert DeadLetter.objects.get().code == "unknown_schema"

    def test_what_came_before_a_registry_that_fails_is_read_and_the_rest_later(
        self,
        source: Source,
        registry: RegistryServer,
        decoder: MessageDecoder,
        stream: MemoryStream,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        first, second = registry.avro("int"), registry.avro("long")
        stream.send(wire(first, b"\2"))
        stream.send(wire(second, b"\4"))
        registry.answers[f"/schemas/ids/{second}"] = (500, b"")

        waits: list[float] = []
        with DecodingAdapter(MemoryAdapter(stream, source.pk), decoder, wait=waits.append) as adapter:
            store_batch(source, first_half := adapter.poll(0), now=now())
            assert [one.value for one in first_half] == [b"1"]
            assert not adapter.poll(0)
            assert adapter.trouble == "The schema registry answered 500."
            assert not adapter.poll(0.1)  # it is not asked at once again
            assert waits == [0.1]
            assert len(registry.requests) == 3
            registry.answers.clear()
            monkeypatch.setattr(decoding.time, "monotonic", lambda: float("1e12"))
            assert [one.value for one in adapter.poll(0)] == [b"2"]
            assert adapter.trouble == ""

    def test_a_batch_ends_where_its_json_is_large(
        self,
        source: Source,
        registry: RegistryServer,
        decoder: MessageDecoder,
        stream: MemoryStream,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(decoding, "MAX_BATCH_BYTES", 1)
        number = registry.avro("int")
        for _ in range(3):
            stream.send(wire(number, b"\2"))

        with DecodingAdapter(MemoryAdapter(stream, source.pk), decoder) as adapter:
            assert [len(adapter.poll(0)) for _ in range(4)] == [1, 1, 1, 0]
            adapter.resume()
            assert len(adapter.poll(0)) == 1

    def test_a_retry_decodes_by_the_registry_of_now(
        self, source: Source, registry: RegistryServer, decoder: MessageDecoder, stream: MemoryStream
    ) -> None:
        number = registry.avro(SCORE)
        late = registry.schemas.pop(number)
        stream.send(wire(number, avro_payload(SCORE, score("a"))))
        store_batch(source, poll(source, stream, decoder), now=now())
        registry.answers[f"/schemas/ids/{number}"] = (500, b"")

        with pytest.raises(Problem, match="answered 500"):
            retry(source=source, letters=dead_letters_of(source), actor="ada", now=now())
        assert DeadLetter.objects.count() == 1
        registry.answers.clear()
        assert retry(source=source, letters=dead_letters_of(source), actor="ada", now=now()).refused == 1
        registry.schemas[number] = late
        assert retry(source=source, letters=dead_letters_of(source), actor="ada", now=now()).stored == 1

        assert PredictionRow.objects.get().prediction_id == "a"

    def test_letters_of_before_the_source_had_a_registry_are_decoded_when_retried(
        self, source: Source, registry: RegistryServer
    ) -> None:
        raw = message(wire(registry.avro(SCORE), avro_payload(SCORE, score("a"))))
        source.positions.create(partition="t/0", next_offset=0)
        store_batch(source, [raw], now=now())
        assert DeadLetter.objects.get().code == "malformed_json"

        assert retry(source=source, letters=dead_letters_of(source), actor="ada", now=now()).stored == 1

    def test_the_secret_of_a_registry_is_sealed_and_never_sent_elsewhere(
        self, source: Source, registry: RegistryServer
    ) -> None:
        settings = KafkaSettings.model_validate(source.settings)
        update_source(source=source, actor="ada", registry_secret="token")
        assert decrypt(source.registry_secret) == "token"
        update_source(source=source, actor="ada", settings=settings.model_copy(update={"topics": ["u"]}))
        assert source.registry_secret

        moved = settings.model_copy(update={"registry_url": registry.address + "/other"})
        update_source(source=source, actor="ada", settings=moved)

        assert not source.registry_secret

    @pytest.mark.parametrize(
        ("changes", "pointer"),
        [
            ({"registry_url": "ftp://registry"}, "/settings/registry_url"),
            ({"registry_url": "http://127.0.0.1:9000/?a=b"}, "/settings/registry_url"),
            ({"registry_url": "http://10.0.0.1:8081"}, "/settings/registry_url"),
            ({"registry_url": "", "registry_user": "ada"}, "/settings/registry_user"),
        ],
    )
    def test_a_registry_that_could_never_work_is_refused(
        self, source: Source, changes: dict[str, str], pointer: str
    ) -> None:
        settings = KafkaSettings.model_validate(source.settings | changes)

        with pytest.raises(Problem) as refused:
            update_source(source=source, actor="ada", settings=settings)

        assert refused.value.errors[0].pointer == pointer

    def test_a_secret_without_a_registry_is_refused(self, source: Source) -> None:
        settings = KafkaSettings.model_validate(source.settings | {"registry_url": ""})

        with pytest.raises(Problem) as refused:
            update_source(source=source, actor="ada", settings=settings, registry_secret="token")

        assert refused.value.errors[0].pointer == "/registry_secret"
