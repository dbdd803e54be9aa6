"""An emulator of BigQuery, of another process: local-bigquery, over DuckDB.

It asks for no token, so a server of the tests that gives and checks them stands before it.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from inference.prediction_log.sources.sql.bigquery import SCOPE
from tests.inference.prediction_log.sources.google_server import EMAIL, GoogleServer
from tests.ports import free_port
from tests.waiting import wait_until

SOURCES = Path(__file__).parent
ENVIRONMENT = SOURCES.parents[1] / ".streams/bigquery"
BRING_EXTENSIONS = """
from duckdb_extensions import import_extension
for name in ("ducklake", "icu", "json", "spatial"):
    import_extension(name)
"""
TABLE = """
CREATE TABLE loans.scores (
    id STRING, updated_at TIMESTAMP, prediction INT64, income NUMERIC, home STRING, day DATE, local DATETIME,
    number INT64, tags ARRAY<STRING>, about STRUCT<age INT64, raw BYTES>, share FLOAT64, is_new BOOL
)
"""


@dataclass(frozen=True)
class BigQueryServer:
    """Where statements of any kind are run, and what gives tokens and asks for them."""

    emulator: str
    google: GoogleServer

    def run(self, statement: str) -> dict[str, Any]:
        """Run a statement without asking for a token; returns what the emulator answers."""
        url = f"{self.emulator}/bigquery/v2/projects/tests/queries"
        answer = requests.post(url, json={"query": statement, "useLegacySql": False}, timeout=300)
        assert answer.ok, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def where(self, **others: Any) -> dict[str, Any]:
        """Return settings of a source of its table."""
        plain = {
            "kind": "sql",
            "engine": "bigquery",
            "host": "127.0.0.1",
            "port": self.google.port,
            "tls": "none",
            "database": "tests",
            "schema_name": "loans",
            "user": EMAIL,
            "table": "scores",
            "watermark": "updated_at",
            "keys": ["id"],
            "interval_seconds": 60,
        }
        return plain | others


@contextmanager
def bigquery_server(folder: Path) -> Iterator[BigQueryServer]:
    """Run an emulator with an empty table until the block ends; its environment is made where it is missing."""
    subprocess.run([SOURCES / "install", "bigquery"], check=True)
    port, grpc_port = free_port(), free_port()
    environment = {**os.environ, "HOME": str(ENVIRONMENT)}  # where DuckDB looks for extensions
    subprocess.run([ENVIRONMENT / "bin/python", "-c", BRING_EXTENSIONS], check=True, env=environment)
    command: list[str | Path] = [
        ENVIRONMENT / "bin/local-bigquery", "serve", "--host", "127.0.0.1", "--port", str(port),
        "--grpc-port", str(grpc_port), "--project", "tests", "--dataset", "loans", "--data-dir", folder / "bigquery",
    ]  # fmt: skip
    with (folder / "bigquery.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), seconds=30, what="the start of the emulator")
        with GoogleServer(upstream=url, scope=SCOPE) as google:
            server = BigQueryServer(url, google)
            server.run(TABLE)
            yield server
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/bigquery/v2/projects/tests/datasets", timeout=30).ok
    except requests.ConnectionError:
        return False
