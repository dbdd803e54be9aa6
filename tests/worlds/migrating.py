"""The database of an earlier release."""

from typing import Any

from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def migrate(targets: list[tuple[str, str]]) -> None:
    MigrationExecutor(connection).migrate(targets)


def leaves() -> list[Any]:
    return MigrationExecutor(connection).loader.graph.leaf_nodes()
