"""Snowflake's SQL API with real statements: a server of the tests that checks signatures, before an emulator.

The emulator, fakesnow over DuckDB, runs in another process and has no such API.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Any

import requests

from tests.inference.prediction_log.sources.snowflake_server import USER, WAREHOUSE, Result, SnowflakeServer
from tests.ports import free_port
from tests.waiting import wait_until

SOURCES = Path(__file__).parent
ENVIRONMENT = SOURCES.parents[1] / ".streams/snowflake"
PARTITION = 3_000
TABLE = """
CREATE TABLE "scores" (
    "id" VARCHAR, "updated_at" TIMESTAMP_NTZ, "prediction" NUMBER(1, 0), "income" NUMBER(8, 2), "home" VARCHAR,
    "day" DATE, "number" NUMBER(38, 0), "moment" TIMESTAMP_TZ, "hour" TIME, "about" VARIANT, "raw" BINARY,
    "share" FLOAT, "is_new" BOOLEAN
)
"""


@dataclass(frozen=True)
class SnowflakeTables:
    """Where statements of any kind are run, and what checks signatures and runs those of a source."""

    emulator: str
    api: SnowflakeServer

    def run(self, statement: str) -> None:
        """Run a statement without a signature."""
        _run(self.emulator, {"statement": statement})

    def where(self, **others: Any) -> dict[str, Any]:
        """Return settings of a source of its table."""
        plain = {
            "kind": "sql",
            "engine": "snowflake",
            "host": "127.0.0.1",
            "port": self.api.port,
            "tls": "none",
            "database": "LOANS",
            "schema_name": "PUBLIC",
            "user": USER,
            "warehouse": WAREHOUSE,
            "table": "scores",
            "watermark": "updated_at",
            "keys": ["id"],
            "interval_seconds": 60,
        }
        return plain | others


@contextmanager
def snowflake_tables(folder: Path) -> Iterator[SnowflakeTables]:
    """Run an emulator with an empty table until the block ends; its environment is made where it is missing."""
    subprocess.run([SOURCES / "install", "snowflake"], check=True)
    port = free_port()
    command = [ENVIRONMENT / "bin/python", SOURCES / "snowflake_emulator.py", str(port)]
    with (folder / "snowflake.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={"TZ": "UTC"})
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), seconds=60, what="the start of the emulator")
        with SnowflakeServer(partial(_run, url)) as api:
            server = SnowflakeTables(url, api)
            server.run(TABLE)
            yield server
    finally:
        process.kill()
        process.wait()


def _run(url: str, body: dict[str, Any]) -> Result:
    """Run a statement, and return what it gives; raises ValueError with what is wrong."""
    answer = requests.post(url, json=body, timeout=300)
    document = answer.json()
    if not answer.ok:
        raise ValueError(document["message"])
    return Result(document["columns"], [*batched(document["rows"], PARTITION)] or [[]])


def _answers(url: str) -> bool:
    try:
        return bool(_run(url, {"statement": "SELECT 1"}).partitions)
    except requests.ConnectionError:
        return False
