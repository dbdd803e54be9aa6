"""Reads a lake as its users do."""

from pathlib import Path
from typing import Any

import duckdb

from inference.prediction_log.lake.stores.marker import MARKER


def query(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask DuckDB about all files of a lake, which is the table `lake`."""
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE VIEW lake AS SELECT * FROM read_parquet('{folder}/**/*.parquet', "
            "hive_partitioning = true, union_by_name = true)"
        )
        return connection.execute(sql).fetchall()


def ids(folder: Path) -> list[str]:
    """Return the ids of all rows of a lake."""
    if not list(folder.rglob("*.parquet")):
        return []
    return [id_ for (id_,) in query(folder, "SELECT id FROM lake ORDER BY id")]


def names(folder: Path) -> list[str]:
    """Return the names of all files but the marker, drafts too."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    return sorted(str(path.relative_to(folder)) for path in files)
