"""Reads messages of Protobuf as JSON, in bounded memory whatever schema and message say."""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

import msgspec
from google.protobuf import (  # noqa: F401  each puts its file into the default pool, for schemas that import it
    any_pb2,
    api_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    json_format,
    source_context_pb2,
    struct_pb2,
    timestamp_pb2,
    type_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from inference.prediction_log.sources.registry.faults import (
    INVALID_SCHEMA,
    MESSAGE_TOO_LARGE,
    NOT_WIRE_FORMAT,
    UNFIT_MESSAGE,
    Undecodable,
)

MAX_DECODED_BYTES = 256 << 20
"""Of memory that the parts of a message may take for a moment."""
MAX_MESSAGE_BYTES = 4 << 20
MAX_VALUES = 500_000
"""Of one message, its unset fields that have a default counted."""
_MAX_INDEXES = 32
_MIN_PART_BYTES = 2  # of a part of a message: its number and its length
_PART_BYTES, _FIELD_BYTES = 64, 16  # of memory, for each part and each field that its type has
_WRAPPERS = frozenset(f"google.protobuf.{name}" for name in wrappers_pb2.DESCRIPTOR.message_types_by_name)
_JSON = ("google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue")
_encoder = msgspec.json.Encoder()


class ProtobufSchema:
    """Reads messages of one file of types. Raises Undecodable for one that cannot be read.

    `descriptor` is the file as a serialized descriptor in base64, and so are the files that it imports, by name.
    """

    def __init__(self, descriptor: str, imports: Sequence[tuple[str, str]]) -> None:
        self._file = _read_file(descriptor)
        self._pool = _Pool({name: _read_file(text) for name, text in imports})
        self._pool.add(self._file)
        self._types: dict[tuple[int, ...], _MessageType] = {}

    def decode(self, payload: bytes) -> bytes:
        """Return a message as JSON; it begins with which type of the file it is of. Raises Undecodable."""
        indexes, start = _read_indexes(payload)
        if indexes not in self._types:
            self._types[indexes] = _MessageType(self._pool.find(self._name_of(indexes)))
        return self._types[indexes].decode(payload[start:])

    def _name_of(self, indexes: Sequence[int]) -> str:
        types: Sequence[Any] = self._file.message_type
        names = [self._file.package] if self._file.package else []
        for index in indexes:
            if index >= len(types):
                raise Undecodable(UNFIT_MESSAGE, "The message is of a type that its schema has not got.")
            names.append(types[index].name)
            types = types[index].nested_type
        return ".".join(names)


class _Pool:
    """Types of files that import each other; what nobody names is looked for among the files of Protobuf itself."""

    def __init__(self, files: Mapping[str, Any]) -> None:
        self._files, self._added = files, set[str]()
        self._pool = descriptor_pool.DescriptorPool()

    def add(self, file: Any) -> None:
        """Add a file with all that it imports; raises Undecodable."""
        if file.name in self._added:
            return
        self._added.add(file.name)
        imported = {name: self._find(name) for name in file.dependency}
        for one in imported.values():
            if one is not None:
                self.add(one)
        # A file that nobody has may hold options alone, which values do not need.
        del file.public_dependency[:], file.weak_dependency[:]
        file.dependency[:] = [name for name, one in imported.items() if one is not None]
        try:
            self._pool.AddSerializedFile(file.SerializeToString())
        except (TypeError, ValueError) as error:
            raise _invalid(error) from error

    def find(self, name: str) -> Descriptor:
        """Return the type of a name; raises Undecodable."""
        try:
            return self._pool.FindMessageTypeByName(name)
        except KeyError as error:
            raise _invalid(error) from error

    def _find(self, name: str) -> Any:
        if name in self._files:
            return self._files[name]
        try:
            known = descriptor_pool.Default().FindFileByName(name)
        except KeyError:
            return None
        return descriptor_pb2.FileDescriptorProto.FromString(known.serialized_pb)


class _MessageType:
    """Reads messages of one type."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._class = GetMessageClass(descriptor)
        largest = max((_size_of(part) for part in _types_of_many(descriptor)), default=0)
        self._max_bytes = MAX_MESSAGE_BYTES
        if largest:
            self._max_bytes = min(self._max_bytes, MAX_DECODED_BYTES // largest * _MIN_PART_BYTES)

    def decode(self, payload: bytes) -> bytes:
        if len(payload) > self._max_bytes:
            detail = f"The message has {len(payload):,} bytes; of this schema {self._max_bytes:,} are read."
            raise Undecodable(MESSAGE_TOO_LARGE, detail)
        try:
            return _encoder.encode(_Reader().read(self._class.FromString(payload)))
        except (DecodeError, ValueError, OverflowError, json_format.Error) as error:
            raise Undecodable(UNFIT_MESSAGE, "The message ends early, or is not of its schema.") from error


def _types_of_many(top: Descriptor) -> Iterable[Descriptor]:
    """Return the types of which one message may hold many, by a repeated field or in two ways."""
    once, many = set[str](), dict[str, Descriptor]()
    pending = [(top, False)]
    while pending:
        one, is_many = pending.pop()
        if one.full_name in many:
            continue
        if is_many or one.full_name in once:
            many[one.full_name] = one
        once.add(one.full_name)
        is_many = one.full_name in many
        pending += [
            (field.message_type, is_many or field.is_repeated) for field in one.fields if field.message_type
        ]
    return many.values()


def _size_of(descriptor: Descriptor) -> int:
    return _PART_BYTES + _FIELD_BYTES * len(descriptor.fields)


class _Reader:
    """Reads one message as values of JSON, with a bound on how many."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def read(self, message: Message) -> Any:
        """Return a message as an object; a field that is not set has its default, or is missing where it has none."""
        descriptor = message.DESCRIPTOR
        if special := _special(descriptor.full_name):
            self._count(message.ByteSize())
            return special(message)
        found: dict[str, Any] = {}
        self._count(len(descriptor.fields))
        for field in descriptor.fields:
            if not field.has_presence or message.HasField(field.name):
                found[field.name] = self._field(field, getattr(message, field.name))
        return found

    def _field(self, field: Any, value: Any) -> Any:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            self._count(len(value))
            of_values = field.message_type.fields_by_name["value"]
            return {_key(key): self._value(of_values, value[key]) for key in value}
        if field.is_repeated:
            self._count(len(value))
            return [self._value(field, one) for one in value]
        return self._value(field, value)

    def _value(self, field: Any, value: Any) -> Any:
        if field.message_type is not None:
            return self.read(value)
        if field.enum_type is not None:
            known = field.enum_type.values_by_number.get(value)
            return value if known is None else known.name
        return value

    def _count(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            raise Undecodable(MESSAGE_TOO_LARGE, f"The message has more than {MAX_VALUES:,} values.")


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _special(name: str) -> Callable[[Any], Any] | None:
    """Return what reads a message of a type that Protobuf gives a meaning; None for all others."""
    if name == "google.protobuf.Timestamp":
        return lambda message: message.ToDatetime(tzinfo=UTC)
    if name == "google.protobuf.Duration":
        return lambda message: message.seconds + message.nanos / 1e9
    if name in _WRAPPERS:
        return lambda message: message.value
    return json_format.MessageToDict if name in _JSON else None


def _read_indexes(payload: bytes) -> tuple[tuple[int, ...], int]:
    """Return which type a message is of, as the place of its type among those of the file, and of each type around it,
    and where the message begins; raises Undecodable."""
    numbers = _varints(payload)
    count, start = next(numbers)
    if not 0 <= count <= _MAX_INDEXES:
        raise _not_wire_format()
    indexes = []
    for _ in range(count):
        index, start = next(numbers)
        indexes.append(index)
    if any(index < 0 for index in indexes):
        raise _not_wire_format()
    return tuple(indexes) or (0,), start  # none stands for the first type


def _varints(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield the numbers that a text begins with, zigzag as Kafka's, each with where the next one begins."""
    place = 0
    while True:
        number = shift = 0
        while True:
            if place >= len(payload) or shift > 28:
                raise _not_wire_format()
            byte = payload[place]
            number |= (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if byte < 0x80:
                break
        yield (number >> 1) ^ -(number & 1), place


def _not_wire_format() -> Undecodable:
    return Undecodable(NOT_WIRE_FORMAT, "The message does not say which type of its schema it is of.")


def _read_file(text: str) -> Any:
    try:
        return descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, DecodeError) as error:
        raise _invalid(error) from error


def _invalid(error: Exception) -> Undecodable:
    return Undecodable(INVALID_SCHEMA, f"The schema cannot be read as Protobuf: {str(error)[:200]}.")
