"""Connects to PostgreSQL: to the address that was checked, and with nothing of this server's own environment."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import extensions

from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.sql.database import (
    CONNECT_SECONDS,
    FETCHED_AT_ONCE,
    STATEMENT_SECONDS,
)
from inference.prediction_log.sources.sql.queries import Query
from inference.prediction_log.sources.sql.rows import Unreadable
from inference.prediction_log.sources.sql.settings import SqlSettings
from inference.prediction_log.sources.sql.time_limit import TimeLimit


class PostgresqlDatabase:
    """One connection; see `Database`."""

    is_billed = False

    def __init__(self, settings: SqlSettings, secret: str, address: str, *, deadline: float) -> None:
        with _failures(), tempfile.NamedTemporaryFile("w", suffix=".pem") as authority:
            authority.write(settings.ca_certificate)
            authority.flush()
            root = authority.name if settings.ca_certificate else "system"
            authorities = {"sslrootcert": root} if settings.is_encrypted else {}
            self._connection = psycopg2.connect(
                host=settings.host,
                hostaddr=address,
                port=settings.server_port(),
                dbname=settings.database,
                user=settings.user,
                password=secret,
                passfile="/dev/null",
                connect_timeout=CONNECT_SECONDS,
                tcp_user_timeout=1_000 * (STATEMENT_SECONDS + CONNECT_SECONDS),
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                sslmode="verify-full" if settings.is_encrypted else "disable",
                sslcertmode="disable",
                gssencmode="disable",
                application_name="driftline",
                **authorities,
            )
            self._connection.set_session(readonly=True)
            for kind in _TIMES:
                extensions.register_type(kind, self._connection)
        self._limit = TimeLimit(socket.socket(fileno=os.dup(self._connection.fileno())), deadline)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()
        self._limit.close()

    def read(self, query: Query) -> Iterator[tuple[Sequence[str], Sequence[Any]]]:
        """Yield the rows of a statement by a cursor of the server; see `Database`."""
        with _failures():
            try:
                self._begin()
                with self._connection.cursor(name="driftline") as cursor:
                    with self._limit.step():
                        cursor.execute(query.text, query.values)
                    while rows := self._fetch(cursor):
                        names = [column.name for column in cursor.description or ()]
                        yield from ((names, row) for row in rows)
            finally:
                self._end()

    def count(self, query: Query) -> int:
        """Return the number that a statement gives; see `Database`."""
        with _failures():
            try:
                self._begin()
                with self._connection.cursor() as cursor, self._limit.step():
                    cursor.execute(query.text, query.values)
                    found = cursor.fetchone()
            finally:
                self._end()
        return int(found[0]) if found else 0

    def _begin(self) -> None:
        """Set what holds for one transaction: a pooler may give the next one another session."""
        with self._connection.cursor() as cursor, self._limit.step():
            cursor.execute(
                f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'; SET LOCAL timezone = 'UTC'"
            )

    def _fetch(self, cursor: Any) -> list[Any]:
        with self._limit.step():
            return list(cursor.fetchmany(FETCHED_AT_ONCE))

    def _end(self) -> None:
        if not self._connection.closed:
            with self._limit.step():
                self._connection.rollback()


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        said = str(error).strip().split("\n")[0][:300]
        raise ConnectorFailed(f"The database cannot be read: {said}") from error
    except (ValueError, OverflowError) as error:
        raise ConnectorFailed(f"A value or setting cannot be read: {str(error)[:200]}.") from error


def _or_unreadable(read: Callable[..., Any]) -> Callable[[str | None, Any], Any]:
    """Return a reader of times that gives `Unreadable` where no time of Python is the same."""

    def read_value(text: str | None, cursor: Any) -> Any:
        if text is not None and text.endswith("infinity"):
            return Unreadable(text)  # the driver would give the first or last day of Python's calendar
        try:
            return read(text, cursor)
        except (ValueError, OverflowError):
            return Unreadable(str(text))

    return read_value


_TIMES = [
    extensions.new_type(kind.values, f"DRIFTLINE_{kind.name}", _or_unreadable(kind))
    for kind in (
        extensions.PYDATE,
        extensions.PYTIME,
        extensions.PYDATETIME,
        extensions.PYDATETIMETZ,
        extensions.PYINTERVAL,
    )
]
