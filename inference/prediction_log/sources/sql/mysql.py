"""Connects to MariaDB or MySQL by PyMySQL, of the extra `sql`; the address that was checked is called."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pymysql
from pymysql.constants import ER
from pymysql.cursors import SSCursor

from inference.connectors.failure import ConnectorFailed
from inference.prediction_log.sources.sql.database import CONNECT_SECONDS, FETCHED_AT_ONCE, STATEMENT_SECONDS
from inference.prediction_log.sources.sql.queries import Query
from inference.prediction_log.sources.sql.settings import SqlSettings
from inference.prediction_log.sources.sql.time_limit import TimeLimit

SESSION = ("SET time_zone = '+00:00'", "SET SESSION TRANSACTION READ ONLY")


class MysqlDatabase:
    """One connection; see `Database`."""

    is_billed = False

    def __init__(self, settings: SqlSettings, secret: str, address: str, *, deadline: float) -> None:
        with _failures():
            self._connection = pymysql.connect(
                host=settings.host,
                port=settings.server_port(),
                database=settings.database,
                user=settings.user,
                password=secret,
                charset="utf8mb4",
                ssl=_tls_of(settings),
                connect_timeout=CONNECT_SECONDS,
                read_timeout=STATEMENT_SECONDS + CONNECT_SECONDS,
                write_timeout=CONNECT_SECONDS,
                local_infile=False,
                autocommit=True,
                defer_connect=True,
            )
            connected = socket.create_connection((address, settings.server_port()), CONNECT_SECONDS)
            self._limit = TimeLimit(connected.dup(), deadline)
            try:
                self._begin(connected, settings)
            except BaseException:
                connected.close()
                self.close()
                raise

    def _begin(self, connected: socket.socket, settings: SqlSettings) -> None:
        with self._limit.step():
            self._connection.connect(connected)
            _check_encrypted(self._connection, settings)
            with self._connection.cursor() as cursor:
                for statement in SESSION:
                    cursor.execute(statement)
                _limit_time(cursor)

    def close(self) -> None:
        """End the connection."""
        if self._connection.open:
            self._connection.close()
        self._limit.close()

    def read(self, query: Query) -> Iterator[tuple[Sequence[str], Sequence[Any]]]:
        """Yield the rows of a statement as they come; see `Database`."""
        with _failures(), self._connection.cursor(SSCursor) as cursor:
            with self._limit.step():
                cursor.execute(query.text, tuple(query.values))
            names = [column[0] for column in cursor.description or ()]
            while rows := self._fetch(cursor):
                yield from ((names, row) for row in rows)

    def count(self, query: Query) -> int:
        """Return the number that a statement gives; see `Database`."""
        with _failures(), self._connection.cursor() as cursor, self._limit.step():
            cursor.execute(query.text, tuple(query.values))
            found = cursor.fetchone()
        return int(found[0]) if found else 0

    def _fetch(self, cursor: Any) -> list[Any]:
        with self._limit.step():
            return list(cursor.fetchmany(FETCHED_AT_ONCE))


def _tls_of(settings: SqlSettings) -> ssl.SSLContext | None:
    if not settings.is_encrypted:
        return None
    certificate = settings.ca_certificate.encode("ascii", "ignore").decode()  # names may stand beside the PEM
    return ssl.create_default_context(cadata=certificate or None)


def _check_encrypted(connection: Any, settings: SqlSettings) -> None:
    """Raise ConnectorFailed where TLS is asked for and the driver went on without."""
    if settings.is_encrypted and not isinstance(connection._sock, ssl.SSLSocket):
        raise ConnectorFailed(
            "The database speaks no TLS; let it, or set tls to none within your own networks."
        )


def _limit_time(cursor: Any) -> None:
    """Set a time limit for statements: MariaDB counts seconds, MySQL milliseconds."""
    try:
        cursor.execute(f"SET SESSION max_statement_time = {STATEMENT_SECONDS}")
    except pymysql.err.OperationalError as error:
        if error.args[0] != ER.UNKNOWN_SYSTEM_VARIABLE:
            raise
        cursor.execute(f"SET SESSION max_execution_time = {1_000 * STATEMENT_SECONDS}")


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (pymysql.err.MySQLError, OSError, RuntimeError) as error:
        said = str(error.args[-1] if error.args else error)[:300]
        raise ConnectorFailed(f"The database cannot be read: {said}") from error
    except (ValueError, OverflowError) as error:
        raise ConnectorFailed(f"A value or setting cannot be read: {str(error)[:200]}.") from error
