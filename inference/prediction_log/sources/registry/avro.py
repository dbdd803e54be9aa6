"""Reads values of Avro as JSON, in bounded memory whatever schema and message say.

The library decodes in C without any bound, so a schema is checked before it is used: it must not contain itself, and
each of its values must take at least one byte. Then the length of a message bounds what becomes of it.
"""

import struct
from collections.abc import Iterable, Sequence
from decimal import Context, Decimal
from io import BytesIO
from typing import Any, NamedTuple

import msgspec
from fastavro import parse_schema, schemaless_reader
from fastavro.read import LOGICAL_READERS
from fastavro.schema import SchemaParseException, UnknownType

from driftline.base.errors import Problem
from driftline.base.strict_json import MAX_DEPTH, check_depth
from inference.prediction_log.sources.registry.faults import (
    INVALID_SCHEMA,
    MESSAGE_TOO_LARGE,
    SCHEMA_TOO_DEEP,
    TRAILING_BYTES,
    UNFIT_MESSAGE,
    Undecodable,
)

MAX_DECODED_BYTES = 256 << 20
"""Of memory that a message may take for a moment."""
MAX_MESSAGE_BYTES = 4 << 20
_MAX_BRACKETS = 4 * MAX_DEPTH  # a record within a record takes three levels of its schema
_VALUE_BYTES, _RECORD_BYTES, _LIST_BYTES = 160, 200, 64  # at most, of what one byte of a message becomes
_DECIMAL = "driftline-decimal"
_MAX_DECIMAL_BYTES = 64
_digits = Context(prec=160)  # which hold all of them
_INVALID = (
    SchemaParseException,
    UnknownType,
    AttributeError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    RecursionError,
)
_UNFIT = (EOFError, ValueError, IndexError, KeyError, TypeError, ArithmeticError, struct.error)

_encoder = msgspec.json.Encoder(decimal_format="number")


class AvroSchema:
    """Reads messages of one schema. Raises Undecodable for one that does not parse, or could take all memory."""

    def __init__(self, text: str, references: Sequence[str]) -> None:
        named: dict[str, Any] = {}
        try:
            for reference in references:
                _parse(reference, named)
            self._schema = _parse(text, named)
            bytes_each = _Weights(named).weigh(self._schema).bytes_each
        except _INVALID as error:
            detail = f"The schema does not parse as Avro: {str(error)[:200]}."
            raise Undecodable(INVALID_SCHEMA, detail) from error
        self._max_bytes = min(MAX_MESSAGE_BYTES, MAX_DECODED_BYTES // bytes_each)

    def decode(self, payload: bytes) -> bytes:
        """Return a message as JSON; raises Undecodable."""
        if len(payload) > self._max_bytes:
            detail = f"The message has {len(payload):,} bytes; of this schema {self._max_bytes:,} are read."
            raise Undecodable(MESSAGE_TOO_LARGE, detail)
        stream = BytesIO(payload)
        try:
            encoded = _encoder.encode(schemaless_reader(stream, self._schema, None))
        except _UNFIT as error:
            raise Undecodable(UNFIT_MESSAGE, "The message ends early, or is not of its schema.") from error
        if left := len(payload) - stream.tell():
            raise Undecodable(TRAILING_BYTES, f"{left:,} bytes follow where its schema ends the message.")
        return encoded


def _parse(text: str, named: dict[str, Any]) -> Any:
    """Return a schema with the types that it names added to `named`; raises Undecodable, and any of `_INVALID`."""
    try:
        check_depth(text.encode(), _MAX_BRACKETS)
    except Problem as problem:
        raise _too_deep() from problem
    return parse_schema(msgspec.json.decode(text), named_schemas=named)


class _Weight(NamedTuple):
    bytes_each: int  # of memory, for each byte of a message
    height: int = 1  # levels


class _Weights:
    """Finds how much memory one byte of a message may take at most, and refuses schemas for which nothing bounds it.

    Every value takes a byte or more, so no byte costs more than the costliest path from the root to one value.
    """

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._known: dict[str, _Weight] = {}
        self._open: set[str] = set()

    def weigh(self, schema: Any, depth: int = 0) -> _Weight:
        """Return what a value of a schema weighs that lies `depth` levels deep; raises Undecodable."""
        weight = self._weigh(schema, depth)
        if depth + weight.height > MAX_DEPTH:
            raise _too_deep()
        return weight

    def _weigh(self, schema: Any, depth: int) -> _Weight:
        if depth > MAX_DEPTH:
            raise _too_deep()
        if isinstance(schema, str):
            return self._weigh_name(schema, depth)
        if isinstance(schema, list):
            branches = [one for one in schema if one != "null"]  # which takes the byte of its number
            return self._around(0, [(one, 0) for one in branches], depth)
        kind = schema["type"]
        if kind in ("record", "error"):
            return self._weigh_record(schema, depth)
        if kind in ("array", "map"):
            return self._around(_LIST_BYTES, [(schema["items" if kind == "array" else "values"], 0)], depth)
        if kind == "fixed" and schema["size"] < 1:
            raise _takes_no_byte()
        _choose_readers(schema)
        return self._weigh_name(kind, depth) if isinstance(kind, str) else self.weigh(kind, depth)

    def _around(self, own_bytes: int, parts: Iterable[tuple[Any, int]], depth: int) -> _Weight:
        """Return the weight of a value around others, each with the letters of its name."""
        weights = [(self.weigh(one, depth + 1), letters) for one, letters in parts]
        costliest = max((one.bytes_each + letters for one, letters in weights), default=_VALUE_BYTES)
        return _Weight(own_bytes + costliest, 1 + max((one.height for one, _ in weights), default=0))

    def _weigh_name(self, name: str, depth: int) -> _Weight:
        if name == "null":
            raise _takes_no_byte()
        if name in self._open:
            detail = f"The schema contains itself, by {name[:100]}; a row needs one of bounded depth."
            raise Undecodable(SCHEMA_TOO_DEEP, detail)
        if name in self._named and name not in self._known:
            self._known[name] = self.weigh(self._named[name], depth)
        return self._known.get(name, _Weight(_VALUE_BYTES))

    def _weigh_record(self, schema: Any, depth: int) -> _Weight:
        if not schema["fields"]:
            raise _takes_no_byte()
        self._open.add(schema["name"])
        fields = [(field["type"], len(field["name"])) for field in schema["fields"]]
        weight = self._around(_RECORD_BYTES, fields, depth)
        self._open.remove(schema["name"])
        self._known[schema["name"]] = weight
        return weight


def _too_deep() -> Undecodable:
    return Undecodable(SCHEMA_TOO_DEEP, f"The schema nests deeper than {MAX_DEPTH} levels.")


def _takes_no_byte() -> Undecodable:
    detail = (
        "The schema has a value that takes no byte (null outside of a union, or a record or fixed without content), "
        "so a short message could fill all memory."
    )
    return Undecodable(INVALID_SCHEMA, detail)


def _choose_readers(schema: Any) -> None:
    """Read times without a zone as those of UTC, as other sources do, and decimals with a bound."""
    logical = schema.get("logicalType")
    if logical == "decimal":
        schema["logicalType"] = _DECIMAL
    elif isinstance(logical, str):
        schema["logicalType"] = logical.removeprefix("local-")


def _read_decimal(data: bytes, schema: Any, _: Any = None) -> Decimal:
    """Return a decimal; raises ValueError for one of more than `_MAX_DECIMAL_BYTES`, which takes time to convert."""
    if len(data) > _MAX_DECIMAL_BYTES:
        raise ValueError(len(data))
    return Decimal(int.from_bytes(data, signed=True)).scaleb(-schema.get("scale", 0), _digits)


LOGICAL_READERS |= {f"bytes-{_DECIMAL}": _read_decimal, f"fixed-{_DECIMAL}": _read_decimal}
