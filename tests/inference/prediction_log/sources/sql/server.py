"""A PostgreSQL of others: over TCP, with a password, and a table of predictions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg2

from driftline.operations.services.postgres import SUPERUSER, postgres_child
from tests.embedded import launch, make_home
from tests.ports import free_port

PASSWORD = "s3cret-of-the-reader"
TABLE = """
CREATE TABLE scores (
    id text PRIMARY KEY, updated_at timestamptz, prediction int, income numeric(8, 2), home text, number bigint
)
"""


@dataclass(frozen=True)
class SqlServer:
    """Where it answers; this build of PostgreSQL has no TLS."""

    port: int
    sockets: str

    def connect(self, database: str = "others") -> Any:
        """Connect as its owner."""
        return psycopg2.connect(host=self.sockets, port=self.port, user=SUPERUSER, dbname=database)

    def run(self, statement: str, *values: Any, database: str = "others") -> list[Any]:
        """Run a statement as its owner; returns what it gives."""
        connection = self.connect(database)
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def make_database(self, name: str) -> None:
        """Make another database with the same table, empty."""
        self.run(f"DROP DATABASE IF EXISTS {name}", database="postgres")
        self.run(f"CREATE DATABASE {name}", database="postgres")
        self.run(TABLE, database=name)
        self.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", database=name)

    def where(self, **others: Any) -> dict[str, Any]:
        """Return settings of a source of its table."""
        plain = {
            "kind": "sql",
            "host": "127.0.0.1",
            "port": self.port,
            "database": "others",
            "user": "reader",
            "tls": "none",
            "table": "scores",
            "watermark": "updated_at",
            "keys": ["id"],
            "lag_seconds": 0,
        }
        return plain | others

    def add(self, *ids: str, at: str = "2026-01-05 10:00Z") -> None:
        """Add rows with these ids and one watermark."""
        for id_ in ids:
            self.run("INSERT INTO scores VALUES (%s, %s, 1, 41.50, 'rent', length(%s))", id_, at, id_)


@contextmanager
def sql_server(folder: Path) -> Iterator[SqlServer]:
    """Run a server with the database `others` until the block ends."""
    paths, port = make_home(folder), free_port()
    child = postgres_child(paths, durable=False)
    assert child.prepare is not None
    child.prepare()
    rules = paths.postgres_data / "pg_hba.conf"
    rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    options = {"port": str(port), "listen_addresses": "127.0.0.1"}
    server = SqlServer(port, str(paths.sockets))
    parts = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    process = launch(
        replace(child, command=(*child.command, *parts), is_ready=lambda: _answers(server)), paths
    )
    try:
        process.wait_ready()
        server.run("CREATE DATABASE others", database="postgres")
        server.run(TABLE)
        server.run(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'")
        server.run("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
        yield server
    finally:
        process.stop()


def _answers(server: SqlServer) -> bool:
    try:
        server.run("SELECT 1", database="postgres")
    except psycopg2.OperationalError:
        return False
    return True
