"""Decodes messages of a stream by the schemas that their registry has."""

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, Self

import msgspec

from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.reading.messages import Adapter, StreamMessage
from inference.prediction_log.sources.registry.avro import AvroSchema
from inference.prediction_log.sources.registry.client import SchemaRegistry
from inference.prediction_log.sources.registry.faults import (
    INVALID_SCHEMA,
    NOT_WIRE_FORMAT,
    UNFIT_MESSAGE,
    UNKNOWN_SCHEMA,
    UNSUPPORTED_SCHEMA,
    WIRE_MARK,
    Undecodable,
)
from inference.prediction_log.sources.registry.protobuf import ProtobufSchema

MAX_SCHEMAS = 100
MAX_KEPT_BYTES = 8 << 20
"""Of all schemas that are kept, as the registry writes them."""
UNKNOWN_SECONDS = 30.0
"""A schema that the registry has not got is asked for again after this long, as it may be registered late."""
MAX_BATCH_BYTES = 8 << 20
STEP_SECONDS = 2.0
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.5, 10.0
"""Between two questions to a registry that does not answer."""
_PREFIX_BYTES = 5  # a zero byte, and the number of the schema
_MAX_SCHEMA_ID = 2**31 - 1
"""Registries number by signed integers, and say of a larger number only that the address does not exist."""

_log = logging.getLogger(__name__)


class Schema(Protocol):
    """Reads messages of one schema as JSON; raises Undecodable."""

    def decode(self, payload: bytes) -> bytes: ...


class _JsonSchema:
    """Messages of JSON: they are what they are, and not held against their schema."""

    def decode(self, payload: bytes) -> bytes:
        return payload


class _Kept(NamedTuple):
    schema: Schema | Undecodable
    size: int
    until: float = float("inf")


class MessageDecoder:
    """Decodes the values of messages; schemas are kept within bounds, those that were used last."""

    def __init__(self, registry: SchemaRegistry) -> None:
        self._registry = registry
        self._kept: OrderedDict[int, _Kept] = OrderedDict()

    def decode(self, message: StreamMessage) -> StreamMessage:
        """Return a message with its value as JSON, or with the fault that keeps it from being read.

        Raises ConnectorFailed while the registry does not say which of the two it is.
        """
        if message.value is None:
            return message
        try:
            value = self._decode(message.value)
        except Undecodable as error:
            return msgspec.structs.replace(message, fault=error.fault)
        return msgspec.structs.replace(message, value=value, fault=None)

    def _decode(self, value: bytes) -> bytes:
        if len(value) < _PREFIX_BYTES or not value.startswith(WIRE_MARK):
            detail = "The message does not begin with a zero byte and the number of a schema."
            raise Undecodable(NOT_WIRE_FORMAT, detail)
        schema_id = int.from_bytes(value[1:_PREFIX_BYTES])
        if schema_id > _MAX_SCHEMA_ID:
            detail = f"The message names a schema {schema_id}; registries number up to {_MAX_SCHEMA_ID}."
            raise Undecodable(NOT_WIRE_FORMAT, detail)
        schema = self._find(schema_id)
        if isinstance(schema, Undecodable):
            raise schema
        with _no_other_failure(UNFIT_MESSAGE, "The message", schema_id):
            return schema.decode(value[_PREFIX_BYTES:])

    def _find(self, schema_id: int) -> Schema | Undecodable:
        kept = self._kept.get(schema_id)
        if kept is None or kept.until < time.monotonic():
            kept = self._kept[schema_id] = self._read(schema_id)
            self._forget_some()
        self._kept.move_to_end(schema_id)
        return kept.schema

    def _forget_some(self) -> None:
        size = sum(one.size for one in self._kept.values())
        while len(self._kept) > 1 and (len(self._kept) > MAX_SCHEMAS or size > MAX_KEPT_BYTES):
            size -= self._kept.popitem(last=False)[1].size

    def _read(self, schema_id: int) -> _Kept:
        try:
            return self._build(schema_id)
        except Undecodable as error:
            is_unknown = error.fault.code == UNKNOWN_SCHEMA
            until = time.monotonic() + UNKNOWN_SECONDS if is_unknown else float("inf")
            return _Kept(Undecodable(error.fault.code, error.fault.detail), 0, until)

    def _build(self, schema_id: int) -> _Kept:
        found = self._registry.schema(schema_id)
        match found.schemaType:
            case "AVRO":
                imports = [one.schema for _, one in self._registry.references_of(found)]
                size = len(found.schema) + sum(map(len, imports))
                with _no_other_failure(INVALID_SCHEMA, "The schema", schema_id):
                    return _Kept(AvroSchema(found.schema, imports), size)
            case "PROTOBUF":
                found = self._registry.schema(schema_id, serialized=True)
                files = self._registry.references_of(found, serialized=True)
                named = [(name, one.schema) for name, one in files]
                size = len(found.schema) + sum(len(text) for _, text in named)
                with _no_other_failure(INVALID_SCHEMA, "The schema", schema_id):
                    return _Kept(ProtobufSchema(found.schema, named), size)
            case "JSON":
                return _Kept(_JsonSchema(), 0)
        detail = f"The schema is of the type {found.schemaType[:40]!r}; Avro, Protobuf and JSON are read."
        raise Undecodable(UNSUPPORTED_SCHEMA, detail)


@contextmanager
def _no_other_failure(code: str, subject: str, schema_id: int) -> Iterator[None]:
    """Turn whatever a library raises into Undecodable: a message that failed otherwise would be read for ever."""
    try:
        yield
    except Undecodable:
        raise
    except Exception as error:
        _log.exception("A message of a stream cannot be decoded.", extra={"schema": schema_id})
        detail = f"{subject} cannot be read: {type(error).__name__}. The log of the consumer has more."
        raise Undecodable(code, detail) from error


class DecodingAdapter:
    """Decodes the messages of another adapter; see `Adapter`.

    While the registry does not answer it stays what it is to the broker, and reads again at the table's positions: a
    consumer that came and went would have the others of its group stop each time.
    """

    def __init__(
        self, inner: Adapter, decoder: MessageDecoder, *, wait: Callable[[float], object] = time.sleep
    ) -> None:
        self._inner, self._decoder, self._wait = inner, decoder, wait
        self._waiting: deque[StreamMessage] = deque()
        self._trouble = ""
        self._pause_seconds, self._retry_at = FIRST_PAUSE_SECONDS, float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the stream to others."""
        self._inner.close()

    @property
    def trouble(self) -> str:
        """Return why nothing comes at present: of the stream, else of the registry."""
        return self._inner.trouble or self._trouble

    def resume(self) -> None:
        """Read on at the positions of the table."""
        self._waiting.clear()
        self._inner.resume()

    def acknowledge(self, next_offsets: Mapping[str, int]) -> None:
        """Hear that messages are stored."""
        self._inner.acknowledge(next_offsets)

    def ends(self) -> Mapping[str, int]:
        """Return the offsets behind the last messages."""
        return self._inner.ends()

    def poll(self, timeout_seconds: float) -> Sequence[StreamMessage]:
        """Return the next messages, about `MAX_BATCH_BYTES` of JSON, or what is decoded within `STEP_SECONDS`.

        Where the registry does not answer, what was decoded before it comes, and then nothing until it does.
        """
        if (pause := self._retry_at - time.monotonic()) > 0:
            self._wait(min(pause, timeout_seconds))
            return []
        if not self._waiting:
            self._waiting.extend(self._inner.poll(timeout_seconds))
        deadline = time.monotonic() + STEP_SECONDS
        batch: list[StreamMessage] = []
        size = 0
        try:
            while self._waiting and size < MAX_BATCH_BYTES and (not batch or time.monotonic() < deadline):
                batch.append(self._decoder.decode(self._waiting[0]))
                self._waiting.popleft()
                size += batch[-1].size_bytes
        except ConnectorFailed as error:
            if not batch:  # else it comes first: what is not stored yet would be read again
                self._hold_back(str(error))
            return batch
        self._trouble, self._pause_seconds = "", FIRST_PAUSE_SECONDS
        return batch

    def _hold_back(self, trouble: str) -> None:
        self._trouble = trouble
        self._retry_at = time.monotonic() + self._pause_seconds
        self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)
        self.resume()
