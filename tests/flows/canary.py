"""Looks for a string in everything that an installation keeps: every column of every table, and every file."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from django.db import connection

type Query = Callable[[str], Sequence[tuple[Any, ...]]]


def ask_test_database(sql: str) -> Sequence[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def places_of(
    canary: str, home: Path, *, query: Query = ask_test_database, without: str | None = None
) -> set[str]:
    """Name the columns and files that hold the string, as it is or once it is decompressed."""
    mark = canary.encode()
    columns = {
        place for place, content in _every_value(query) if any(mark in form for form in _forms(content))
    }
    files = [path for path in home.rglob("*") if without not in path.relative_to(home).parts]
    held = [path for path in files if path.is_file() and any(mark in form for form in _forms(_read(path)))]
    return columns | {
        str(path.relative_to(home)) for path in [*held, *(f for f in files if canary in f.name)]
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""  # of a process that goes on


def _every_value(query: Query) -> Iterator[tuple[str, bytes]]:
    """Dump each table: a row at a time, each column as text, or as its bytes where it holds bytes."""
    columns = query(
        "SELECT table_name, column_name FROM information_schema.columns JOIN information_schema.tables "
        "USING (table_schema, table_name) WHERE table_schema = 'public' AND table_type = 'BASE TABLE' ORDER BY 1, 2"
    )
    for table, column in columns:
        for (value,) in query(f'SELECT "{column}" FROM ONLY "{table}" WHERE "{column}" IS NOT NULL'):
            content = bytes(value) if isinstance(value, memoryview) else str(value).encode()
            yield f"{table}.{column}", content


def _forms(content: bytes) -> Iterator[bytes]:
    """Give a value as it is, and what it says once it is decoded."""
    yield content
    if content[:4] == b"\xff\xff\xff\xff":
        with pa.ipc.open_stream(content) as reader:
            yield _texts(reader.read_all())
    elif content[:4] == b"PAR1":
        yield _texts(pq.read_table(pa.BufferReader(content)))
    elif content[:4] == b"\x28\xb5\x2f\xfd":
        yield zstandard.decompress(content)


def _texts(table: pa.Table) -> bytes:
    return msgspec.json.encode([str(value) for column in table.columns for value in column.to_pylist()])
