"""Writes rows of a table as JSON."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from inference.prediction_log.sources.reading.messages import Fault
from inference.prediction_log.sources.sql.nanoseconds import NanosecondTime


@dataclass(frozen=True)
class Unreadable:
    """A value that no type of Python can hold, such as a time before the year 1, as the database writes it."""

    text: str


MAX_ROW_BYTES = 4 << 20  # as JSON
_MAX_EXACT_FLOAT = 1 << 53
_MAX_WHOLE = Decimal(
    "1e77"
)  # the longest of a data warehouse; other databases have numbers of 100,000 digits


def write_row(row: Mapping[str, Any]) -> tuple[bytes, Fault | None]:
    """Return a row as JSON, with what is wrong where it cannot be one; times without a zone are taken for UTC."""
    try:
        value = _encoder.encode({name: _plain(value) for name, value in row.items()})
    except (ValueError, OverflowError, msgspec.MsgspecError) as error:
        return b"", Fault("malformed_row", f"The row cannot be written as JSON: {str(error)[:200]}.")
    if len(value) > MAX_ROW_BYTES:
        detail = f"The row has {len(value):,} bytes of JSON, and a row has at most {MAX_ROW_BYTES:,}."
        return b"", Fault("malformed_row", detail)
    return value, None


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            return int(value) if _is_whole(value) else float(value)
        case NanosecondTime():
            return _plain(value.truncated())
        case datetime() if value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        case list():
            return [_plain(one) for one in value]
        case memoryview():
            return base64.b64encode(value).decode()
        case Unreadable("infinity" | "-infinity" as text):
            return text  # as tables have it that say until when a row holds
        case Unreadable():
            raise ValueError(f"{value.text[:60]!r} is no time between the years 1 and 9999")
    return value


def _is_whole(value: Decimal) -> bool:
    """Return whether a number, such as an id, has no digits behind the point, or would be no longer the same as
    floating point."""
    if not value.is_finite() or value.copy_abs() >= _MAX_WHOLE or value != value.to_integral_value():
        return False
    return value.as_tuple().exponent == 0 or value.copy_abs() > _MAX_EXACT_FLOAT


_encoder = msgspec.json.Encoder(enc_hook=str)
