"""Writes the place in a table, its watermark and keys, as text that leads back to the same values."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from inference.prediction_log.sources.sql.nanoseconds import NanosecondTime
from inference.prediction_log.sources.sql.rows import Unreadable


class UnusableValue(ValueError):
    """A value cannot be part of a place; the text says which one, or of which type it is."""


def write_cursor(values: Sequence[Any]) -> str:
    """Return a place as text; raises UnusableValue."""
    return json.dumps([_write(value) for value in values], ensure_ascii=False, separators=(",", ":"))


def read_cursor(text: str) -> list[Any]:
    """Return the values of a place."""
    return [_READERS[kind](value) for kind, value in json.loads(text)]


def _write(value: Any) -> list[str]:
    match value:
        case bool():
            pass
        case int():
            return ["int", str(value)]
        case Decimal():
            return ["decimal", str(value)]
        case str():
            return ["text", value]
        case NanosecondTime():
            return ["nanoseconds", f"{value.nanosecond} {value.isoformat()}"]
        case datetime():
            return ["time", value.isoformat()]
        case date():
            return ["date", value.isoformat()]
        case UUID():
            return ["uuid", str(value)]
        case bytes() | memoryview():
            return ["bytes", bytes(value).hex()]
        case Unreadable():
            raise UnusableValue(
                f"{value.text[:60]!r} is no time between the years 1 and 9999, and so no watermark or key"
            )
    raise UnusableValue(f"a value of type {type(value).__name__} cannot be a watermark or a key")


def _read_nanoseconds(text: str) -> NanosecondTime:
    nanosecond, moment = text.split(" ")
    return NanosecondTime.after(datetime.fromisoformat(moment), int(nanosecond))


_READERS: dict[str, Any] = {
    "int": int,
    "decimal": Decimal,
    "text": str,
    "time": datetime.fromisoformat,
    "nanoseconds": _read_nanoseconds,
    "date": date.fromisoformat,
    "uuid": str,
    "bytes": bytes.fromhex,
}
