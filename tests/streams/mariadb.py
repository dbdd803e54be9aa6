"""A real MariaDB of another process, with a password and TLS; the machine has to have its programs."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.certificates import make_certificate
from tests.ports import free_port
from tests.waiting import wait_until

PASSWORD = "s3cret-of-the-reader"
STATEMENTS = (
    "CREATE DATABASE others",
    "CREATE TABLE others.scores (id varchar(64) PRIMARY KEY, updated_at datetime(6), prediction int, "
    "income decimal(8, 2), home text, KEY (updated_at, id)) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    f"CREATE USER reader@localhost IDENTIFIED BY '{PASSWORD}'",
    "GRANT SELECT ON others.* TO reader@localhost",
)


@dataclass(frozen=True)
class MariaServer:
    """Where it answers, and the certificate of its authority."""

    port: int
    socket: str
    certificate: str

    def run(self, statement: str, rows: list[tuple[Any, ...]] | None = None) -> None:
        """Run a statement as its owner, for every row where some are given, in one transaction."""
        with (
            pymysql.connect(unix_socket=self.socket, user="root") as connection,
            connection.cursor() as cursor,
        ):
            if rows is None:
                cursor.execute(statement)
            else:
                cursor.executemany(statement, rows)
            connection.commit()

    def where(self, **others: Any) -> dict[str, Any]:
        """Return settings of a source of its table."""
        plain = {
            "kind": "sql",
            "engine": "mysql",
            "host": "127.0.0.1",
            "port": self.port,
            "database": "others",
            "user": "reader",
            "ca_certificate": self.certificate,
            "table": "scores",
            "watermark": "updated_at",
            "keys": ["id"],
        }
        return plain | others


@contextmanager
def mariadb_server(folder: Path, *options: str) -> Iterator[MariaServer]:
    """Run a server with the database `others` until the block ends; `options` are of the server."""
    if shutil.which("mariadbd") is None:
        pytest.skip("There is no MariaDB; install one, such as 'apt-get install mariadb-server'.")
    data, port = folder / "mariadb", free_port()
    certificate, key = make_certificate(folder)
    server = MariaServer(port, str(folder / "m.sock"), certificate.read_text())
    with (folder / "mariadb.log").open("ab") as log:
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root",
             "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True, stdout=log, stderr=log,
        )  # fmt: skip
        process = subprocess.Popen(
            ["mariadbd", "--no-defaults", f"--datadir={data}", "--user=root", f"--port={port}",
             "--bind-address=127.0.0.1", f"--socket={server.socket}", f"--ssl-cert={certificate}",
             f"--ssl-key={key}", "--innodb-flush-log-at-trx-commit=0", *options],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until(lambda: _answers(server), seconds=60, what="the start of MariaDB")
        for statement in STATEMENTS:
            server.run(statement)
        yield server
    finally:
        process.kill()
        process.wait()


def _answers(server: MariaServer) -> bool:
    if not Path(server.socket).exists():
        return False  # PyMySQL would leave open what it could not connect
    try:
        server.run("SELECT 1")
    except pymysql.err.OperationalError:
        return False
    return True
