"""Writes and reads rows as PostgreSQL's binary COPY has them: nobody parses text, and a payload is sent as it is.

The format: https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4 (big-endian, each field with its length).
"""

import io
import struct
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import psycopg2.extensions
from django.db import connection
from django.db.models import QuerySet

_LENGTH = struct.Struct(">i")
_FIELDS = struct.Struct(">h")
_BIGINT = struct.Struct(">q")
NULL = struct.pack(">i", -1)
EPOCH_US = 946_684_800_000_000  # PostgreSQL counts from 2000-01-01
_HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_END = struct.pack(">h", -1)
_EPOCH_DAY = date(2000, 1, 1)


def start_of_row(fields: int) -> bytes:
    """Begin a row of so many fields."""
    return struct.pack(">h", fields)


def content(data: bytes) -> bytes:
    """Write a text (in UTF-8) or a bytea."""
    return length(len(data)) + data


def length(size: int) -> bytes:
    """Write the length that stands before a field."""
    return struct.pack(">i", size)


def bigint(number: int) -> bytes:
    return struct.pack(">iq", 8, number)


def integer(number: int) -> bytes:
    return struct.pack(">ii", 4, number)


def day(value: date) -> bytes:
    return integer((value - _EPOCH_DAY).days)


def moment(us: int) -> bytes:
    """Write a timestamptz, given in microseconds since 1970."""
    return bigint(us - EPOCH_US)


def copy_rows(
    cursor: psycopg2.extensions.cursor, table: str, columns: Sequence[str], rows: Sequence[bytes]
) -> None:
    """Add rows, all or none, each in one part or in several that follow each other.

    `cursor` is the driver's own, and the errors are Django's as everywhere else.
    """
    stream = b"".join([_HEAD, *rows, _END])
    names = ", ".join(f'"{name}"' for name in columns)
    statement = f"COPY {table} ({names}) FROM STDIN (FORMAT binary)"
    with connection.wrap_database_errors:
        cursor.copy_expert(statement, io.BytesIO(stream), size=len(stream))


def read_rows(rows: QuerySet[Any, Any]) -> list[list[memoryview | None]]:
    """Read what a query set of values selects, each field as the bytes that it is sent in.

    As text a payload has twice the bytes, which the server writes and the driver turns back.
    """
    stream = io.BytesIO()
    with connection.cursor() as cursor, connection.wrap_database_errors:
        query = cursor.mogrify(*rows.query.sql_with_params()).decode()
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", stream)
    return list(_rows_of(memoryview(stream.getvalue())))


def _rows_of(stream: memoryview) -> Iterator[list[memoryview | None]]:
    at = len(_HEAD)
    while (fields := _FIELDS.unpack_from(stream, at)[0]) >= 0:
        at += _FIELDS.size
        row: list[memoryview | None] = []
        for _ in range(fields):
            (size,) = _LENGTH.unpack_from(stream, at)
            at += _LENGTH.size
            row.append(stream[at : at + size] if size >= 0 else None)
            at += max(size, 0)
        yield row


def read_bigint(field: memoryview) -> int:
    return int(_BIGINT.unpack(field)[0])
